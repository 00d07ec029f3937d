"""Build the bundle: the chosen variants and whatever else the task's predictor needs, in one directory."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.pack.packing import Given, PackSettings
from components.pack.sbom import write_sbom
from components.tasks import find
from serving.contract.bundle import Bundle, Lineage
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir, digest


def pack(
    variants: Path,
    corpus: Path,
    examples: Path,
    settings: Mapping[str, Any],
    bundle: Path,
    frame: Path | None = None,
    snapshot: Path | None = None,
) -> dict[str, float]:
    """Write the bundle directory, whole or not at all; return its metrics, named with their protocol.

    In: quantize's ``variants`` directory, whose variants.json names the task (components/tasks/<task>); the task's two
    tables, and features where its system has them, as parquet. Errors: `SluiceError` for a missing file or column.
    """
    description = _read_variants(variants)
    license, weights = description.pop("license"), description.pop("weights")
    own = find(description["task"]).packing()
    chosen = own.Settings(**settings)
    with atomic_dir(bundle) as out:
        for name in sorted({Path(row["file"]).parts[0] for row in description["variants"].values()}):
            (shutil.copytree if (variants / name).is_dir() else shutil.copyfile)(variants / name, out / name)
        if (variants / "tokenizer.json").is_file():
            shutil.copyfile(variants / "tokenizer.json", out / "tokenizer.json")
        made = own.pack(Given(variants, description, corpus, examples, frame, snapshot), chosen, out)
        whole = {**description, "inputs": made.inputs, "outputs": made.outputs, "metrics": made.metrics}
        packed = Bundle(system=chosen.system, lineage=_lineage(corpus, examples, chosen), **whole)
        write_sbom(packed, license, weights, out)
        packed.write(out)
    return made.metrics


def _lineage(corpus: Path, examples: Path, settings: PackSettings) -> Lineage:
    data = hashlib.sha256((digest(corpus) + digest(examples)).encode()).hexdigest()[:16]
    return Lineage(data=data, code=os.environ.get("SLUICE_CODE_DIGEST", ""), mlflow_run=settings.mlflow_run or None)


def _read_variants(variants: Path) -> dict[str, Any]:
    """What quantize wrote about its variants: the fields that the bundle takes over, and the base model's files."""
    path = variants / "variants.json"
    try:
        data = json.loads(path.read_text())
        found = {name: data[name] for name in ("task", "base_model", "adapter", "variants", "variant")}
    except (OSError, ValueError, KeyError) as error:
        raise SluiceError(f"{path}: cannot be read ({error}); run the step quantize again") from error
    found |= {"license": data.get("license", ""), "weights": data.get("weights", {})}
    return {**found, **{name: data[name] for name in ("encoder", "speech", "spec") if name in data}}
