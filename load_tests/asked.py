"""What is asked: one row a request, as a release wrote them, or made of the questions that people ask."""

import base64
import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from load_tests.questions import read_questions
from serving.contract.errors import SluiceError
from serving.contract.task import Task, find_task

Row = dict[str, Any]
"""id (str), task (str, empty for a stranger's), persona (str, may be empty), expect (a label, or None), units (float:
what the request is worth in the task's own measure, such as seconds of audio), and instance (the fields of one instance
of the protocol) or body (a whole JSON body) with, if it is not the protocol's, its path."""


def read_asked(path: Path | str) -> list[Row]:
    """Read request rows (JSON lines). SluiceError naming file, line and field when something is missing.

    A line holds one request: ``{"instance": {...}}``, ``{"body": {...}}`` with ``"path": "/..."`` if need be, or
    ``{"file": "clip.wav"}`` with ``"fields": {...}``, a recording beside the file of requests. Beside it may stand id,
    task and expect (see `is_correct`), persona, units.
    """
    place = Path(path)
    if not place.is_file():
        raise SluiceError(f"no file of requests {place}; the step 'evaluate' writes one, as its output 'asked'")
    with place.open(encoding="utf-8") as stream:
        rows = [_checked(place, number, line) for number, line in enumerate(stream, 1) if line.strip()]
    if not rows:
        raise SluiceError(f"{place}: no requests in it, so nothing to ask; see components/evaluate")
    return rows


def write_asked(rows: Iterable[Row], path: Path) -> None:
    """Write request rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def asked_questions(source: Path | str) -> list[Row]:
    """Request rows of the task retrieval, from a file of questions (see `load_tests.questions`)."""
    return from_questions(read_questions(source))


def from_questions(questions: Sequence[Row]) -> list[Row]:
    """Request rows from dicts with question, question_id, persona, gold_paths."""
    return [
        {
            "id": str(row["question_id"]),
            "task": "retrieval",
            "persona": str(row.get("persona") or ""),
            "instance": {"question": row["question"]},
            "expect": {"paths": list(row["gold_paths"])} if row.get("gold_paths") else None,
            "units": 1.0,
        }
        for row in questions
    ]


def _checked(path: Path, number: int, line: str) -> Row:
    place = f"{path}, line {number}"
    try:
        row = json.loads(line)
    except ValueError as error:
        raise SluiceError(f"{place}: not JSON ({error}); expected one request a line") from None
    if not isinstance(row, dict):
        raise SluiceError(f"{place}: expected an object with 'instance', 'body' or 'file'")
    expect, units, where = row.get("expect"), row.get("units", 1.0), row.get("path", "")
    if expect is not None and not isinstance(expect, dict):
        raise SluiceError(f"{place}: 'expect' is neither a label (an object) nor null")
    if isinstance(units, bool) or not isinstance(units, int | float) or units <= 0:
        raise SluiceError(f"{place}: 'units' {units!r} is not a number above 0")
    if not isinstance(where, str) or where[:1] not in ("", "/"):
        raise SluiceError(f"{place}: 'path' {where!r} does not begin with /")
    known = {"task": str(row.get("task") or ""), "expect": expect, "units": float(units), "path": where}
    return {"id": str(row.get("id") or number), "persona": str(row.get("persona") or ""), **known, **_sent(place, row)}


def _sent(place: str, row: Row) -> Row:
    """What is sent: ``instance`` or ``body``."""
    if isinstance(row.get("body"), dict):
        return {"body": row["body"]}
    if isinstance(row.get("instance"), dict):
        return {"instance": row["instance"]}
    if not isinstance(row.get("file"), str) or not isinstance(row.get("fields", {}), dict):
        raise SluiceError(f"{place}: expected an object with 'instance' or 'body' (an object), or 'file' (a name)")
    recording = Path(place.rpartition(", line ")[0]).parent / row["file"]
    if not recording.is_file():
        raise SluiceError(f"{place}: no file {recording}")
    audio = base64.b64encode(recording.read_bytes()).decode()
    return {"instance": {"audio": audio, "name": recording.name, **row.get("fields", {})}}


def is_correct(task: str, prediction: Row, expect: Row | None) -> bool | None:
    """Does ``prediction`` (one of a v1 answer) say what the label says? None without a label or for an unknown task."""
    known = _task(task)
    return known.is_correct(prediction, expect) if known and expect else None


def units_of(task: str) -> str:
    """What the ``units`` of a request of that task count, such as audio_s_per_s; "" where requests alone count."""
    known = _task(task)
    return known.units if known else ""


@cache
def _task(name: str) -> Task | None:
    try:
        return find_task(name)
    except SluiceError:
        return None
