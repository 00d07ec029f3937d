"""Quantisation from files to files."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.common.page import COLOURS, Page, new_figure
from components.quantize.variants import Figures, Measured, choose, judge
from components.tasks import DESCRIPTION, find, task_of
from serving.contract.files import atomic_dir
from serving.contract.verdict import Verdict, write_verdicts

TOKENIZER = "tokenizer.json"


def quantize(
    model: Path | str,
    corpus: Path | str,
    examples: Path | str,
    settings: Mapping[str, Any],
    variants: Path | str,
    verdict: Path | str,
    report: Path | str,
) -> Verdict:
    """Write the variants directory of a model directory, the verdict of gate "quantisation" and a page.

    ``variants`` gets tokenizer.json where the model has one, the variants that the model's task makes, and
    variants.json. A variant that fails its gate is written too: the verdict, not a missing file, stops the release.
    `SluiceError` on bad input.
    """
    task = task_of(model)
    own = find(task).quantising()
    chosen = own.Settings.model_validate(settings)
    with atomic_dir(variants) as scratch:
        if (Path(model) / TOKENIZER).is_file():
            shutil.copyfile(Path(model) / TOKENIZER, scratch / TOKENIZER)
        measured = own.measure(Path(model), Path(corpus), Path(examples), chosen, scratch)
        figures = measured.compared()
        gate = judge(figures, chosen, measured.quality_name, measured.unit)
        origin = json.loads((Path(model) / DESCRIPTION).read_text())
        told = {
            "task": task,
            "base_model": origin["base_model"],
            "adapter": origin.get("adapter"),
            # Of the base model's own files, for the bill of materials.
            "license": origin.get("license", ""),
            "weights": origin.get("weights", {}),
            **measured.spec,
            "variants": {name: {"file": measured.files[name], **row} for name, row in figures.items()},
            "variant": choose(figures, chosen),
        }
        (scratch / "variants.json").write_text(json.dumps(told, indent=1))
    write_verdicts([gate], verdict)
    _write_page(gate, measured, figures, report)
    return gate


def _write_page(verdict: Verdict, measured: Measured, figures: Figures, path: Path | str) -> None:
    """Write size, latency, throughput and quality of each variant as one HTML file."""
    page = Page(
        "Quantisation",
        "The same model as ONNX in float32 and INT8: measured, and the fastest that keeps quality is served.",
    )
    page.verdicts([verdict])
    panels = [*measured.panels, (measured.quality, measured.quality_name, 1.0)]
    figure = new_figure(9.5, 3.0)
    for axis, (key, title, scale) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        heights = [row[key] * scale for row in figures.values()]
        axis.bar_label(axis.bar(list(figures), heights, color=COLOURS[: len(figures)]), fmt="%.3g")
        axis.set_title(title)
    page.figure(figure, f"Variants side by side, time on one machine in turns; quality is {measured.quality}.")
    page.table([{"variant": name, **row} for name, row in figures.items()], "Every figure of every variant")
    page.text(
        "Latency is from the request's own form to the answer; variants take turns on the same inputs. "
        "Differences are of the graph's outputs against PyTorch in float32."
    )
    page.write(path)
