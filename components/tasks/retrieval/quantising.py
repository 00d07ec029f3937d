"""ONNX variants of a retriever's encoder: what each costs and keeps, measured through the encoder that serves."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field as Setting

from components.quantize.variants import Measured, QuantizeSettings
from serving.contract.errors import SluiceError
from serving.core.onnx_encoder import OnnxEncoder

WARM_UP = 5
SAMPLES = 32
SPEED_TEXTS, SPEED_BATCH = 48, 16
PANELS = [
    ("bytes", "Size, MB", 1e-6),
    ("p50_ms_batch1", "One question, p50 ms", 1.0),
    ("texts_per_s", "Passages per second", 1.0),
]


class Settings(QuantizeSettings):
    """Section ``quantize`` of a retriever.

    ``questions`` and ``passages``: sizes of the quality measurement (0 passages: all of the split); ``static``: also
    try INT8 with calibrated activations.
    """

    questions: int = Setting(300, ge=1)
    passages: int = Setting(0, ge=0)
    static: bool = False


def measure(model: Path, corpus: Path, examples: Path, settings: Settings, out: Path) -> Measured:
    """Write encoder/fp32.onnx, int8.onnx (and int8_static.onnx) below ``out`` and measure them.

    In: passages and questions (parquet). Quality: recall@10 on the validation split, passages withheld, full ranking.
    Errors: `SluiceError` for a missing file or column, or no validation questions.
    """
    from components.common.spec import read_spec
    from components.quantize.export import compare
    from components.tasks.retrieval.learning.data import read_tables

    field = Field(*read_tables(corpus, examples), settings.questions, settings.passages, settings.seed)
    spec = read_spec(model)
    files = build(model, field, settings, out)
    encoders = {name: OnnxEncoder(out, file, settings.threads, spec.max_tokens) for name, file in files.items()}
    texts = field.passages[: SAMPLES // 2] + field.questions[: SAMPLES // 2]
    differences = compare(model, {name: encoder.encode(texts) for name, encoder in encoders.items()}, texts)
    p50, speed = latency(encoders, field.questions, settings.repeats), throughput(encoders, field.passages)
    every = os.cpu_count() or 1  # quality does not depend on threads, time does
    figures: dict[str, dict[str, float]] = {
        name: {
            "bytes": (out / file).stat().st_size,
            "p50_ms_batch1": p50[name],
            "texts_per_s": speed[name],
            **differences[name],
            **field.recall(OnnxEncoder(out, file, every, spec.max_tokens)),
        }
        for name, file in files.items()
    }
    return Measured(
        spec={"encoder": {k: getattr(spec, k) for k in ("pooling", "normalize", "dim", "max_tokens")}},
        files=files,
        figures=figures,
        quality=f"recall@10_{field.protocol}",
        quality_name="recall@10",
        unit="one question",
        panels=PANELS,
    )


def build(model: Path, field: Field, settings: Settings, out: Path) -> dict[str, str]:
    """Write the graphs into ``out``/encoder, static INT8 calibrated on texts of ``field``; their files by variant."""
    from components.quantize.export import export_fp32, optimise, quantise_dynamic, quantise_static

    folder = out / "encoder"
    folder.mkdir()
    raw = folder / "raw.onnx"
    export_fp32(model, raw)
    optimise(raw, folder / "fp32.onnx")
    raw.unlink()
    quantise_dynamic(folder / "fp32.onnx", folder / "int8.onnx")
    if settings.static:
        ids = OnnxEncoder(out, "encoder/fp32.onnx").tokenize(field.passages[:SAMPLES] + field.questions[:SAMPLES])
        quantise_static(folder / "fp32.onnx", folder / "int8_static.onnx", ids)
    return {f.stem: f"encoder/{f.name}" for f in sorted(folder.glob("*.onnx"))}


def latency(encoders: dict[str, OnnxEncoder], questions: Sequence[str], repeats: int) -> dict[str, float]:
    """Median milliseconds of one question at batch 1, tokenising included, per variant.

    The variants take turns on every question, so that a busy moment of the machine hits all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in encoders}
    for turn in range(WARM_UP + repeats):
        question = questions[turn % len(questions)]
        for name, encoder in encoders.items():
            began = time.perf_counter()
            encoder.encode([question])
            if turn >= WARM_UP:
                times[name].append((time.perf_counter() - began) * 1000)
    return {name: float(np.median(values)) for name, values in times.items()}


def throughput(encoders: dict[str, OnnxEncoder], passages: Sequence[str]) -> dict[str, float]:
    """Passages per second in batches of 16, per variant; the best of two turns."""
    texts = list(passages[:SPEED_TEXTS])
    best = dict.fromkeys(encoders, 0.0)
    for _ in range(2):
        for name, encoder in encoders.items():
            began = time.perf_counter()
            encoder.encode(texts, batch=SPEED_BATCH)
            best[name] = max(best[name], len(texts) / (time.perf_counter() - began))
    return best


class Field:
    """Validation questions among validation passages; ``protocol`` says whether those are all of the split."""

    def __init__(self, passages: pd.DataFrame, questions: pd.DataFrame, n_questions: int, n_passages: int, seed: int):
        """Passages must be withheld already; raises `SluiceError` where the split "val" has no questions."""
        kept = passages[passages.split == "val"]
        known = set(kept.passage_id)
        asked = questions[questions.split == "val"]
        asked = asked[[bool(known & set(gold)) for gold in asked.gold]]
        if asked.empty:
            raise SluiceError("questions: none in split 'val' to measure quality with; see components/make_qa")
        asked = asked.sample(min(n_questions, len(asked)), random_state=seed)
        golds = {gold for row in asked.gold for gold in row}
        if n_passages and n_passages < len(kept):
            rest = kept[~kept.passage_id.isin(golds)]
            rest = rest.sample(min(len(rest), max(0, n_passages - len(golds))), random_state=seed)
            kept = pd.concat([kept[kept.passage_id.isin(golds)], rest])
        whole = len(kept) == len(known)
        self.protocol = "full_withheld_val" if whole else f"of{len(kept)}_withheld_val"
        self.passages, self.questions = kept.text.tolist(), asked.question.tolist()
        row = {passage_id: at for at, passage_id in enumerate(kept.passage_id)}
        self.golds = [sorted(row[g] for g in gold if g in row) for gold in asked.gold]

    def recall(self, encoder: OnnxEncoder) -> dict[str, float]:
        """Share (0..1) of the questions whose best gold passage comes among the first 1 and 10 of all."""
        scores = encoder.encode(self.questions) @ encoder.encode(self.passages).T
        best = np.array([line[gold].max() for line, gold in zip(scores, self.golds, strict=True)])
        ranks = 1 + (scores > best[:, None]).sum(axis=1)
        return {f"recall@{k}_{self.protocol}": float((ranks <= k).mean()) for k in (1, 10)}
