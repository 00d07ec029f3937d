"""What a model is for, and where each step keeps the part of its work that only that task needs."""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from serving.contract.errors import SluiceError

ASPECTS = {
    "base": "base", "merge": "merging", "validate": "data", "train": "learning", "quantize": "quantising",
    "pack": "packing", "evaluate": "evaluating", "gate": "gating", "rollout.drill": "drilling",
}  # fmt: skip
TASKS = ("retrieval", "transcription", "highlights")
DESCRIPTION = "sluice.json"


def part(step: str, task: str) -> ModuleType:
    """The module of ``components.tasks.<task>``: what step ``step`` ("train", "merge", ...) does for ``task`` only.

    A new task is a new module beside the others; nothing else asks which task it is. Raises `SluiceError` that names
    the tasks there are.
    """
    name = f"components.tasks.{task}.{ASPECTS[step]}"
    if task not in TASKS or find_spec(name) is None:
        known = [known for known in TASKS if find_spec(f"components.tasks.{known}.{ASPECTS[step]}")]
        raise SluiceError(f"task '{task}': step {step} knows {', '.join(known) or 'none'}; name one of them")
    return import_module(name)


def task_of(model: Path | str) -> str:
    """The task that a model directory was made for, from its ``sluice.json``; `SluiceError` where it does not say."""
    path = Path(model) / DESCRIPTION
    if not path.is_file():
        raise SluiceError(f"{model}: no {DESCRIPTION}, so it is no model directory; make one with components/base")
    task = json.loads(path.read_text()).get("task")
    if not task:
        raise SluiceError(
            f"{path}: no 'task', one of {', '.join(TASKS)}; make the directory with components/base again"
        )
    return str(task)
