"""What the command line knows of each system: its endpoints, what a run starts from, and in which words."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.digest import source_digest
from serving.contract.errors import SluiceError
from serving.contract.files import home

Arguments = dict[str, str]


@dataclass(frozen=True)
class System:
    """A pipeline and what it serves.

    endpoints: its InferenceServices, each with verdicts and a report of its own. graph: its InferenceGraph, or "".
    base_model: what training starts from unless told otherwise. arguments: from (source, whole source, base model) to
    the pipeline's parameters; raises `SluiceError` for a source that is not there. describe: the source, for people.
    """

    endpoints: tuple[str, ...]
    graph: str
    base_model: str
    arguments: Callable[[str, bool, str], Arguments]
    describe: Callable[[Mapping[str, str]], str]


def _codebase(source: str, full: bool, base_model: str) -> Arguments:
    directory = _directory(source, "Python or Markdown files") if source else _transformers()
    part = "all" if full or source else "core"
    return {
        "source": str(directory) if source else "",
        "part": part,
        "base_model": base_model,
        "revision": source_digest(directory, part, str(feedback_count())),
    }


def _about_codebase(arguments: Mapping[str, str]) -> str:
    part = "all of it" if arguments["part"] == "all" else "its user-facing core; --full takes every file"
    return f"{arguments['source'] or 'the installed transformers package'} ({part})"


def _lectures(source: str, full: bool, base_model: str) -> Arguments:
    remote = "://" in source
    place = source if remote else (str(_recordings(source)) if source else "")
    # What lies in a bucket has no digest here: the step that reads it looks at the objects' own.
    revision = source if remote else source_digest(Path(place or SAMPLES), str(feedback_count()), suffixes=())
    return {"source": place, "base_model": base_model, "revision": revision}


def _about_lectures(arguments: Mapping[str, str]) -> str:
    return f"{arguments['source'] or 'our own sample lectures'}, transcribed by {arguments['base_model']} to begin with"


SAMPLES = Path(__file__).parents[2] / "components" / "recordings" / "samples"
SYSTEMS = {
    "codebase": System(("codebase",), "", "minilm", _codebase, _about_codebase),
    "lectures": System(
        ("lectures-transcriber", "lectures-highlights", "lectures-retriever"),
        "lectures",
        "whisper-nano",
        _lectures,
        _about_lectures,
    ),
}


def known(system: str) -> str:
    """The name, if there is such a system; SluiceError otherwise."""
    if system not in SYSTEMS:
        raise SluiceError(f"no system {system!r}; there is {', '.join(SYSTEMS)}")
    return system


def remote_revision(source: str) -> str:
    """What a run elsewhere is told of its source's content, which may not be readable from here.

    A source of one's own counts as new each time: the time is its revision. The default one comes with the image, which
    KFP's cache knows by name; only people's votes, where SLUICE_FEEDBACK_DB names their database, make it new.
    """
    if source:
        return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"{votes} votes" if "SLUICE_FEEDBACK_DB" in os.environ and (votes := feedback_count()) else ""


def _directory(source: str, what: str) -> Path:
    path = Path(source).resolve()
    if not path.is_dir():
        raise SluiceError(f"--source {source}: no such directory; name one that holds {what}")
    return path


def _recordings(source: str) -> Path:
    path = Path(source).resolve()
    return path.parent if path.is_file() else _directory(source, "recordings, or one recording")


def _transformers() -> Path:
    spec = importlib.util.find_spec("transformers")
    if spec is None or not spec.origin:
        raise SluiceError(
            "the transformers package is not installed here; install it, or name a directory with --source"
        )
    return Path(spec.origin).parent


def feedback_count() -> int:
    """How many votes and decisions on corrections people have given; a new one makes the data of the next run new."""
    url = os.environ.get("SLUICE_FEEDBACK_DB", f"sqlite:///{home() / 'feedback.db'}")
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return 0
    from serving.feedback import feedback_count as count

    return count(url)
