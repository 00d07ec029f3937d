"""Adapter into weights, with the proof that nothing changed."""

import json
import shutil
from pathlib import Path
from typing import Any

from components.common.spec import SPEC_FILE
from components.tasks import Merging, find, task_of
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir

TOLERANCE = 1e-4
WEIGHTS = "model.safetensors"


def merge(base: Path | str, adapter: Path | str, merged: Path | str) -> dict[str, float]:
    """Write base plus adapter as one model directory; its outputs are those of the adapter on its base.

    The check reloads what was written and compares the task's outputs on fixed samples (components/tasks/<task>) in
    float32: the largest absolute difference must stay under 1e-4, else `SluiceError` and nothing is written. Metrics:
    that difference, and ``mean_shift_cosine``, how far the adapter moved the outputs from the base's (1 is not at all).
    """
    from components.common.lora import load_adapter

    if not (Path(adapter) / "adapter_config.json").is_file():
        raise SluiceError(f"{adapter}: no adapter_config.json, so no adapter to merge; run components/train first")
    task = _of(base)
    subject = task.subject(base)
    before = task.outputs(subject)
    config = _described(Path(adapter))
    if config["base_model"] != subject.spec.base_model:
        raise SluiceError(
            f"{adapter}: trained on {config['base_model']}, not on {subject.spec.base_model}; train again"
        )
    load_adapter(subject, adapter)
    wanted = task.outputs(subject)
    subject.model = subject.model.merge_and_unload()
    with atomic_dir(merged) as scratch:
        subject.model.save_pretrained(scratch)
        _copy(Path(base), Path(adapter), task.FILES, scratch)
        subject.spec.model_copy(update={"adapter": config}).write(scratch)
        difference = check(scratch, wanted)
    return {"max_abs_difference": difference, "mean_shift_cosine": shift(before, wanted), "rank": float(config["rank"])}


def _of(directory: Path | str) -> Merging:
    name = task_of(directory)
    found = find(name).merging()
    if found is None:
        raise SluiceError(f"{directory}: models of task '{name}' have no adapter, so there is nothing to merge")
    return found


def check(directory: Path, wanted: Any) -> float:
    """Largest absolute difference of a model directory's outputs from ``wanted`` [n, d]; raises over 1e-4."""
    import numpy as np

    task = _of(directory)
    difference = float(np.abs(task.outputs(task.subject(directory)) - wanted).max())
    if not difference < TOLERANCE:
        raise SluiceError(
            f"merge: outputs differ by {difference:.1e} from the adapter on its base, {TOLERANCE:.0e} is allowed; "
            "check that the adapter was trained in float32 on this base"
        )
    return difference


def shift(before: Any, after: Any) -> float:
    """Mean cosine between the rows of two arrays [n, d]."""
    import numpy as np

    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    return float(np.mean(np.sum(before * after, axis=1) / np.maximum(lengths, 1e-9)))


def _copy(base: Path, adapter: Path, own: tuple[str, ...], target: Path) -> None:
    """What is beside the weights: the base's side files (tokenizer, preprocessing), and the task's from the adapter."""
    for path in base.iterdir():
        if path.name not in {WEIGHTS, SPEC_FILE} and not (target / path.name).exists():
            shutil.copyfile(path, target / path.name)
    for name in own:
        if not (adapter / name).is_file():
            raise SluiceError(f"{adapter}: no {name}; run components/train again")
        shutil.copyfile(adapter / name, target / name)


def _described(adapter: Path) -> dict[str, Any]:
    """What a bundle says about the adapter that went into it."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    return {
        "base_model": config["base_model_name_or_path"],
        "rank": config["r"],
        "alpha": config["lora_alpha"],
        "dropout": config["lora_dropout"],
        "target_modules": sorted({name.rsplit(".", 1)[-1] for name in config["target_modules"]}),
    }
