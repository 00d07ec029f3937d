"""Corrections of recordings: proposals of anyone, until a person accepts or rejects them under a name.

A decision keeps what was decided on, bound to the SHA-256 of the recording's bytes: what its proposer says later is a
new proposal. The last decision on a correction holds; earlier ones stay on record.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError

from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file
from serving.contract.task import all_tasks
from serving.feedback.rows import corrections, read
from serving.feedback.tables import connect, create_tables, feedback_url, reviews, utc_now
from serving.feedback.votes import MAX_CORRECTION

State = Literal["proposed", "accepted", "rejected"]
DECIDED = ("accepted", "rejected")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Correction:
    """What should stand from ``start`` to ``end`` (seconds) of the recording with that SHA-256 ("": not known).

    ``answer`` is what a model said there, ``name`` the file's name at its sender, without ending. ``reviewer`` and
    ``over_reference`` (whether it may replace what a reference says there) are of the decision.
    """

    id: str
    state: State
    recording: str
    name: str
    start: float
    end: float
    answer: str
    correction: str
    reviewer: str = ""
    over_reference: bool = False


def all_corrections(url: str | None = None) -> list[Correction]:
    """Proposals, oldest first, then decisions whose proposal has changed since or came from a file.

    Errors: `SluiceError` when the database does not answer.
    """
    decided = _decided(url)
    found: dict[str, Correction] = {}
    for row in _proposals(url):
        key = (row["request_id"], row["start"], row["voter"], row["correction"])
        id_ = sha256("\0".join(map(str, key)).encode()).hexdigest()[:12]
        told = {name: row[name] for name in ("recording", "name", "start", "end", "answer", "correction")}
        before = decided.pop(id_, None)
        found[id_] = replace(before, answer=row["answer"]) if before else Correction(id_, "proposed", **told)
    return [*found.values(), *decided.values()]


def _proposals(url: str | None) -> Iterator[Mapping[Any, Any]]:
    for task in (task for task in all_tasks() if task.reviewed):
        found = corrections(task.name, url).dropna(subset=["start", "end", "correction"])
        yield from found.to_dict("records")


def accepted(url: str | None = None) -> dict[str, list[Correction]]:
    """Accepted corrections by their recording's SHA-256, of each span the last. Errors: as `all_corrections`."""
    spans = {(one.recording, one.start, one.end): one for one in _decided(url).values() if one.state == "accepted"}
    found: dict[str, list[Correction]] = {}
    for (recording, _, _), one in spans.items():
        found.setdefault(recording, []).append(one)
    return found


def decide(
    ids: Sequence[str], state: State, reviewer: str, recording: str = "", over_reference: bool = False,
    url: str | None = None,
) -> list[Correction]:  # fmt: skip
    """Accept or reject corrections; ``recording`` (SHA-256) binds those that are not bound yet. Out: the decisions.

    Errors: `SluiceError` for an id that is none, a reviewer without a name, or a correction of an unknown recording.
    """
    known = {one.id: one for one in all_corrections(url)}
    if missing := [id_ for id_ in ids if id_ not in known]:
        raise SluiceError(f"no correction {ascii(missing[0])[:40]}; `sluice corrections list` shows those there are")
    made = []
    for id_ in dict.fromkeys(ids):
        one = known[id_]
        one = replace(one, state=state, reviewer=reviewer, recording=one.recording or recording)
        made.append(replace(one, over_reference=over_reference))
    keep(made, url)
    return made


def keep(decisions: Sequence[Correction], url: str | None = None) -> None:
    """Write decisions, all or none. Errors: `SluiceError` naming the one that is not whole."""
    for one in decisions:
        _check(one)
    rows = [
        {"decision": one.state, "start_s": one.start, "end_s": one.end, "at": utc_now()}
        | {name: getattr(one, name) for name in ("id", "reviewer", "recording", "name", "correction", "over_reference")}
        for one in decisions
    ]
    engine = connect(url or feedback_url())
    try:
        create_tables(engine)
        with engine.begin() as connection:
            if rows:
                connection.execute(insert(reviews), rows)
    except SQLAlchemyError as error:
        raise SluiceError(f"feedback database: the decisions were not written ({type(error).__name__})") from error
    finally:
        engine.dispose()


def write_file(rows: Sequence[Correction], target: Path) -> None:
    """Write corrections as JSON, one a line; `read_file` takes it back."""
    with atomic_file(target) as scratch:
        lines = (json.dumps(asdict(row), ensure_ascii=False) for row in rows)
        scratch.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read_file(source: Path, reviewer: str) -> list[Correction]:
    """The decisions in a file of `write_file` whose states a person has set; what is still proposed is passed over.

    They count as ``reviewer``'s. Errors: `SluiceError` naming the line that is not as `Correction` wants it.
    """
    try:
        lines = source.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SluiceError(f"{source}: cannot be read ({error}); name a file of `sluice corrections export`") from error
    return list(_read(lines, source, reviewer))


def _read(lines: Sequence[str], source: Path, reviewer: str) -> Iterator[Correction]:
    names = {field.name for field in fields(Correction)}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            told: Mapping[str, Any] = json.loads(line)
            one = Correction(**{name: told[name] for name in told if name in names})
            if one.state == "proposed":
                continue
            one = replace(one, reviewer=reviewer)
            _check(one)
        except (ValueError, TypeError, AttributeError, SluiceError) as error:
            raise SluiceError(f"{source}, line {number}: {error}") from error
        yield one


def _check(one: Correction) -> None:
    if one.state not in DECIDED:
        raise SluiceError(f"{one.id}: state {str(one.state)[:20]!r}; expected accepted or rejected")
    texts = (one.id, one.reviewer, one.recording, one.name, one.correction)
    if not all(isinstance(text, str) for text in texts) or not re.fullmatch(r"[\w.-]{1,16}", one.id):
        raise SluiceError("expected texts in id, reviewer, recording, name and correction, and an id of its own")
    if not one.reviewer.strip() or len(one.reviewer) > 100:
        raise SluiceError("a decision wants its reviewer's name (--reviewer), of at most 100 characters")
    if one.state == "rejected":
        return
    if not _HEX.fullmatch(one.recording):
        raise SluiceError(f"{one.id}: nobody knows which recording it is about; name its file with --recording")
    numbers = (one.start, one.end)
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers) or not 0 <= one.start < one.end:
        raise SluiceError(f"{one.id}: expected seconds, with 'start' before 'end'")
    if not one.correction.strip() or len(one.correction) > MAX_CORRECTION:
        raise SluiceError(f"{one.id}: expected a text of at most {MAX_CORRECTION} characters")


def _decided(url: str | None) -> dict[str, Correction]:
    """The last decision on each correction, oldest first."""
    names = ["id", "decision", "recording", "name", "start_s", "end_s", "correction", "reviewer", "over_reference"]
    frame = read(url, select(*(reviews.c[name] for name in names)).order_by(reviews.c.number), names)
    found: dict[str, Correction] = {}
    for row in frame.to_dict("records"):
        found.pop(row["id"], None)
        told = {name: row[name] for name in ("recording", "name", "correction", "reviewer", "over_reference")}
        told |= {"state": row["decision"], "start": row["start_s"], "end": row["end_s"]}
        found[row["id"]] = Correction(row["id"], answer="", **told)
    return found
