"""Quantisation from files to files."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.quantize.variants import choose, judge
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
    from components.quantize.report import write_page

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
    write_page(gate, measured, figures, report)
    return gate
