"""The systems: what each declares of itself, where they are found, and what their sources have in common.

A system is a folder here, or in a folder ``pipelines/systems`` elsewhere on PYTHONPATH: ``__init__.py`` with
``SYSTEM = System(...)``, ``pipeline.py`` with a pipeline of the folder's name, ``settings.yaml``. Whatever lists
systems or endpoints (the command line, a system's settings) reads the declarations.
"""

import functools
import importlib
import os
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import typer

from load_tests.slo import LoadTest
from serving.contract.errors import SluiceError
from serving.contract.files import home

__path__ = pkgutil.extend_path(__path__, __name__)
Arguments = dict[str, str]


@dataclass(frozen=True)
class Sizes:
    """What one replica asks for (request) and may take (limit), in quantities of Kubernetes.

    setting: how its lines in an overlay's values.env begin, such as TRANSCRIBER.
    """

    setting: str
    cpu: str = "1"
    cpu_limit: str = "2"
    memory: str = "1Gi"
    memory_limit: str = "2Gi"


@dataclass(frozen=True)
class Endpoint:
    """One model in users' reach: an InferenceService of that name, with verdicts and a report of its own.

    task: what the model does. about: one sentence for people. promise: its SLO, and the load that asks for it.
    protocol: of KServe, that the model is asked by. concurrency: requests in flight for each replica before another one
    starts (Knative). waiting: inputs in the queue for each replica before another one starts (KEDA). timeout_s: of a
    request. min_replicas, max_replicas: where no overlay says otherwise. args: more arguments of `python -m serving`.
    sizes: of a replica, where they are not those of the runtime. generator: whether it asks SLUICE_GENERATOR_URL, so
    that the network policy lets it.
    """

    name: str
    task: str
    about: str
    promise: LoadTest
    protocol: Literal["v1", "v2"] = "v1"
    concurrency: int = 32
    waiting: int = 4
    timeout_s: int = 30
    min_replicas: int = 1
    max_replicas: int = 4
    args: tuple[str, ...] = ()
    sizes: Sizes | None = None
    generator: bool = False


@dataclass(frozen=True)
class Graph:
    """An InferenceGraph that hands a request from one endpoint to the next, each with the answer of the one before.

    steps: name of a step to name of its endpoint, in order. timeout_s: of the whole.
    """

    name: str
    about: str
    steps: Mapping[str, str]
    timeout_s: int = 600


@dataclass(frozen=True)
class Source:
    """What `--source` means to a system.

    help: what may be named, and what is read when nothing is. arguments: from (source, whole source, base model) to the
    pipeline's parameters, among them ``revision``, the digest of the source; raises `SluiceError` for a source that is
    not there. describe: those parameters, for people.
    """

    help: str
    arguments: Callable[[str, bool, str], Arguments]
    describe: Callable[[Mapping[str, str]], str]


@dataclass(frozen=True)
class System:
    """A pipeline and what it serves.

    base_model: what training starts from unless told otherwise. answers: the endpoint that `sluice ask` asks, or "".
    questions: what `sluice demo` asks it. commands: verbs of the command line that only this system has.
    """

    source: Source
    base_model: str
    endpoints: tuple[Endpoint, ...]
    graph: Graph | None = None
    answers: str = ""
    questions: tuple[str, ...] = ()
    commands: typer.Typer | None = None

    def arguments(self, source: str = "", full: bool = False, base_model: str = "") -> Arguments:
        """The pipeline's parameters for a source ("": the default), all of it or a part, and a base model."""
        return self.source.arguments(source, full, base_model or self.base_model)


@functools.cache
def systems() -> Mapping[str, System]:
    """Every declaration by the system's name, sorted.

    Raises:
        SluiceError: a folder declares nothing, or two systems have endpoints of one name.
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg)
    found: dict[str, System] = {}
    taken: dict[str, str] = {}
    for name in names:
        module = importlib.import_module(f"{__name__}.{name}")
        declared = getattr(module, "SYSTEM", None)
        if not isinstance(declared, System):
            raise SluiceError(f"{module.__file__}: expected SYSTEM = System(…), see pipelines/systems/__init__.py")
        found[name] = declared
        for endpoint in declared.endpoints:
            if (other := taken.setdefault(endpoint.name, name)) != name:
                raise SluiceError(f"{module.__file__}: {other} has an endpoint {endpoint.name} already; rename one")
    return found


def known(system: str) -> str:
    """The name, if there is such a system; SluiceError otherwise."""
    if system not in systems():
        raise SluiceError(f"no system {system!r}; there is {', '.join(systems())}")
    return system


def folder(system: str) -> Path:
    """Where a system's declaration, pipeline and settings lie."""
    return Path(str(importlib.import_module(f"{__name__}.{known(system)}").__file__)).parent


def releases(system: str) -> dict[str, str]:
    """Endpoint to its section in the system's YAML: the name without the system's, "" for a system's only endpoint."""
    endpoints = systems()[known(system)].endpoints
    if len(endpoints) == 1:
        return {endpoints[0].name: ""}
    return {one.name: one.name.removeprefix(f"{system}-") for one in endpoints}


def remote_revision(source: str) -> str:
    """What a run elsewhere is told of its source's content, which may not be readable from here.

    A source of one's own counts as new each time: the time is its revision. The default one comes with the image, which
    KFP's cache knows by name; only people's votes, where SLUICE_FEEDBACK_DB names their database, make it new.
    """
    if source:
        return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{votes} votes" if "SLUICE_FEEDBACK_DB" in os.environ and (votes := feedback_count()) else ""


def directory(source: str, holds: str) -> Path:
    """The directory that `--source` names; SluiceError where there is none, ``holds`` says what belongs into it."""
    path = Path(source).resolve()
    if not path.is_dir():
        raise SluiceError(f"--source {source}: no such directory; name one that holds {holds}")
    return path


def feedback_count() -> int:
    """How many votes and decisions on corrections people have given; a new one makes the data of the next run new."""
    url = os.environ.get("SLUICE_FEEDBACK_DB", f"sqlite:///{home() / 'feedback.db'}")
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return 0
    from serving.feedback import feedback_count as count

    return count(url)
