"""What a kind of model is to a server: the `Task` that a package ``serving.<task>`` registers as its ``TASK``.

A task is found by its package's name and nothing lists it. Importing the package must cost nothing: whatever needs a
library is imported inside the methods below.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import serving
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.predictor import Predictor

if TYPE_CHECKING:
    from serving.core.model import ServedModel
    from serving.core.service import Service

ROOMS = frozenset({"contract", "core", "feedback", "laptop", "media", "page"})
"""Packages of this room that are no tasks and cost something to import."""


@dataclass(frozen=True)
class Route:
    """A route of a task's own, for POST. ``label`` names it in figures, logs and, with ``peers``, under /peers/<name>/.

    Refusals below /openai/ have OpenAI's shape.
    """

    path: str
    label: str
    peers: bool = False


EMBEDDINGS = Route("/openai/v1/embeddings", "embeddings", peers=True)
"""OpenAI's, for every task with an encoder of texts (see `serving.core.openai.EncodingService`)."""


def limit(default: float, flag: str, text: str) -> Any:
    """A field of a dataclass of limits: a number above 0, and the flag of ``python -m serving`` that sets it."""
    return field(default=default, metadata={"flag": flag, "help": text})


@dataclass(frozen=True)
class NoLimits:
    """Of a task that has none beside those of every server."""


@dataclass(frozen=True)
class EntityFeatures:
    """What a Feast feature service holds of one entity's rows, such as passages.

    ``service``: its name; ``entity``: the join key, the column that names a row; ``numbers``: its int64 columns;
    ``texts``: the others; ``push``: the push source of running totals (shown, up, down) as users vote, "" for none.
    """

    service: str
    entity: str
    numbers: tuple[str, ...]
    texts: tuple[str, ...] = ()
    push: str = ""


class Remembered(NamedTuple):
    """What feedback keeps of one answer, so that a vote finds what it is about.

    ``items``: ids of ``entity``'s rows that were shown; a vote on the answer counts for each of them. ``parts``: start
    and end (seconds, or None) and text of what can be voted on, and corrected, by itself. ``asked``: the question in
    words. ``source``: SHA-256 (hex) of the bytes that were answered, ``duration_s`` their seconds.
    """

    asked: str = ""
    entity: str = ""
    items: Sequence[str] = ()
    parts: Sequence[tuple[float | None, float | None, str]] = ()
    source: str = ""
    duration_s: float | None = None


class Task:
    """One kind of model. What is not overridden is as for a model that answers instances and nothing else.

    ``name``: its package's, and ``task`` of its bundles. ``units``: what a request's units count in a load test ("":
    requests). ``routes``: its own, beside those of every model. ``limits``: a dataclass of `limit` fields.
    ``features``: those of its entities that the feature store holds. ``reviewed``: a person decides whether what voters
    put in place of an answer's parts may teach (`serving.feedback.reviews`).
    """

    name: str
    units: str = ""
    routes: tuple[Route, ...] = ()
    limits: type[Any] = NoLimits
    features: tuple[EntityFeatures, ...] = ()
    reviewed: bool = False

    def open(self, directory: Path, bundle: Bundle, variant: str | None, threads: int) -> Predictor:
        """The predictor of the bundle at ``directory``. Errors: `SluiceError` if a part of it is missing or broken."""
        raise NotImplementedError

    def service(self, model: "ServedModel") -> "Service | None":
        """The task's half of one server, before anything is loaded: how it takes bodies, answers and is measured.

        None: `serving.core.service.Service` itself, which answers instances in batches.
        """
        return None

    def remember(self, instance: Mapping[str, Any], result: Mapping[str, Any]) -> Remembered | None:
        """What feedback keeps of the answer to a parsed instance; None: nothing, so that it cannot be voted on."""
        return Remembered()

    def join(self, previous: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        """One answer of another model's, which an InferenceGraph handed on as an instance, and of this one's."""
        return previous | result

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
