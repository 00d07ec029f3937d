"""What a kind of model is to a server: the `Task` that a package ``serving.<task>`` registers as its ``TASK``.

A task is found by its package's name and nothing lists it. Importing the package must cost nothing: whatever needs a
library is imported inside the methods below.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import serving
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.predictor import Predictor

ROOMS = frozenset({"contract", "core", "feedback", "laptop", "media", "page"})
"""Packages of this room that are no tasks and cost something to import."""


class Task:
    """One kind of model. What is not overridden is as for a model that answers instances and nothing else.

    ``name``: its package's, and ``task`` of its bundles. ``units``: what a request's units count in a load test ("":
    requests).
    """

    name: str
    units: str = ""

    def open(self, directory: Path, bundle: Bundle, variant: str | None, threads: int) -> Predictor:
        """The predictor of the bundle at ``directory``. Errors: `SluiceError` if a part of it is missing or broken."""
        raise NotImplementedError

    def is_correct(self, prediction: Mapping[str, Any], expect: Mapping[str, Any]) -> bool | None:
        """Does ``prediction`` (one of a v1 answer) say what the label ``expect`` says? None: the label does not tell.

        Called as answers come back in a load test: quick, and without the model's libraries.
        """
        return None


def known_tasks() -> list[str]:
    """Names of the tasks there are, sorted."""
    return sorted(
        module.name for module in pkgutil.iter_modules(serving.__path__) if module.ispkg and module.name not in ROOMS
    )


def find_task(name: str, where: str = "") -> Task:
    """The task of that name. Errors: `SluiceError`, after ``where`` (such as a file), that names those there are."""
    known = known_tasks()
    if name not in known:
        place = f"{where}: " if where else ""
        raise SluiceError(f"{place}unknown task {name!r}; this version serves {', '.join(known)}")
    task = getattr(importlib.import_module(f"serving.{name}"), "TASK", None)
    if not isinstance(task, Task) or task.name != name:
        raise SluiceError(f"serving/{name}: no TASK of that name, a serving.contract.task.Task; see serving/retrieval")
    return task


def all_tasks() -> list[Task]:
    """Every task there is, by name. Errors: as `find_task`."""
    return [find_task(name) for name in known_tasks()]
