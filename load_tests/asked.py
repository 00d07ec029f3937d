"""What is asked: one row a request, as a release wrote them, or made of the questions that people ask."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from load_tests.questions import read_questions
from serving.errors import SluiceError

Row = dict[str, Any]
"""id (str), task (str), persona (str, may be empty), instance (one instance of the v1 protocol), expect (a label, or
None), units (float: what the request is worth in the task's own measure, such as seconds of audio)."""


def read_asked(path: Path | str) -> list[Row]:
    """Read request rows (JSON lines). SluiceError naming file, line and field when something is missing."""
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


def asked_questions(source: Path | str | None) -> list[Row]:
    """Request rows of the task retrieval, from questions (see `load_tests.questions`); None: the project's own."""
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
    if not isinstance(row, dict) or not isinstance(row.get("instance"), dict) or not isinstance(row.get("task"), str):
        raise SluiceError(f"{place}: expected an object with id, task and instance, as components/evaluate writes it")
    expect, units = row.get("expect"), row.get("units", 1.0)
    if expect is not None and not isinstance(expect, dict):
        raise SluiceError(f"{place}: 'expect' is neither a label (an object) nor null")
    if isinstance(units, bool) or not isinstance(units, int | float) or units <= 0:
        raise SluiceError(f"{place}: 'units' {units!r} is not a number above 0")
    known = {"task": row["task"], "instance": row["instance"], "expect": expect, "units": float(units)}
    return {"id": str(row.get("id") or number), "persona": str(row.get("persona") or ""), **known}
