"""Quantisation from files to files."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from components.quantize.settings import QuantizeSettings
from serving.errors import SluiceError
from serving.files import atomic_dir
from serving.verdict import Verdict, write_verdicts

SAMPLES = 32


def quantize(
    model: Path | str,
    passages: Path | str,
    questions: Path | str,
    settings: dict[str, Any],
    variants: Path | str,
    verdict: Path | str,
    report: Path | str,
) -> Verdict:
    """Write the variants directory of a model directory, the verdict of gate "quantisation" and a page.

    ``variants`` gets tokenizer.json, encoder/fp32.onnx, encoder/int8.onnx (int8_static.onnx where asked) and
    variants.json. Quality: recall@10 on the validation split, passages withheld, full ranking. A variant that fails
    its gate is written too: the verdict, not a missing file, stops the release. `SluiceError` on bad input.
    """
    chosen = QuantizeSettings.model_validate(settings)
    if not (Path(model) / "tokenizer.json").is_file():
        raise SluiceError(f"{model}: no tokenizer.json, so no model directory; run components/merge first")
    from components.quantize.report import write_page
    from components.quantize.variants import choose, judge

    with atomic_dir(variants) as scratch:
        field = build(Path(model), passages, questions, chosen, scratch)
        figures = measure(Path(model), scratch, field, chosen)
        gate = judge(figures, chosen)
        (scratch / "variants.json").write_text(
            json.dumps(manifest(Path(model), figures, choose(figures, chosen)), indent=1)
        )
    write_verdicts([gate], verdict)
    write_page(gate, figures, field.protocol, report)
    return gate


def build(model: Path, passages: Path | str, questions: Path | str, settings: QuantizeSettings, target: Path) -> Any:
    """Write tokenizer and graphs into ``target``; returns the field that quality is measured on."""
    from components.quantize.export import export_fp32, optimise, quantise_dynamic, quantise_static
    from components.quantize.measure import Field
    from components.train.retrieval.data import read_tables
    from serving.onnx_encoder import OnnxEncoder

    field = Field(*read_tables(passages, questions), settings.questions, settings.passages, settings.seed)
    shutil.copyfile(model / "tokenizer.json", target / "tokenizer.json")
    folder = target / "encoder"
    folder.mkdir()
    raw = folder / "raw.onnx"
    export_fp32(model, raw)
    optimise(raw, folder / "fp32.onnx")
    raw.unlink()
    quantise_dynamic(folder / "fp32.onnx", folder / "int8.onnx")
    if settings.static:
        ids = OnnxEncoder(target, "encoder/fp32.onnx").tokenize(field.passages[:SAMPLES] + field.questions[:SAMPLES])
        quantise_static(folder / "fp32.onnx", folder / "int8_static.onnx", ids)
    return field


def measure(model: Path, target: Path, field: Any, settings: QuantizeSettings) -> dict[str, dict[str, float]]:
    """Figures of every variant under ``target``/encoder: bytes, latency, throughput, difference, quality."""
    from components.base.spec import read_spec
    from components.quantize.export import compare
    from components.quantize.measure import latency, throughput
    from serving.onnx_encoder import OnnxEncoder

    window = read_spec(model).max_tokens
    files = sorted((target / "encoder").glob("*.onnx"))
    encoders = {f.stem: OnnxEncoder(target, f"encoder/{f.name}", settings.threads, window) for f in files}
    texts = field.passages[: SAMPLES // 2] + field.questions[: SAMPLES // 2]
    differences = compare(model, {name: encoder.encode(texts) for name, encoder in encoders.items()}, texts)
    p50, speed = latency(encoders, field.questions, settings.repeats), throughput(encoders, field.passages)
    every = os.cpu_count() or 1  # quality does not depend on threads, time does
    recalls = {f.stem: field.recall(OnnxEncoder(target, f"encoder/{f.name}", every, window)) for f in files}
    whole, quality = (target / "encoder/fp32.onnx").stat().st_size, f"recall@10_{field.protocol}"
    figures: dict[str, dict[str, float]] = {}
    for name in encoders:
        size = (target / "encoder" / f"{name}.onnx").stat().st_size
        figures[name] = {
            "bytes": size,
            "smaller": 1 - size / whole,
            "p50_ms_batch1": p50[name],
            "texts_per_s": speed[name],
            **differences[name],
            **recalls[name],
            "retained": recalls[name][quality] / max(recalls["fp32"][quality], 1e-9),
        }
    return figures


def manifest(model: Path, figures: dict[str, dict[str, float]], variant: str) -> dict[str, Any]:
    """Content of variants.json."""
    from components.base.spec import read_spec

    spec = read_spec(model)
    return {
        "base_model": spec.base_model,
        "adapter": spec.adapter,
        "encoder": {k: getattr(spec, k) for k in ("pooling", "normalize", "dim", "max_tokens")},
        "variants": {name: {"file": f"encoder/{name}.onnx", **row} for name, row in figures.items()},
        "variant": variant,
    }
