"""What was answered: the items that were shown, and the parts, each with its times.

So a vote finds the items that it is about, and a correction of one part finds what it corrects.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select

from serving.contract.errors import SluiceError
from serving.feedback.tables import COUNTS, WHOLE, adding, answers, insert, item_days, utc_now, votes

Item = tuple[str, str]
"""Of which entity something is, and its id."""
LONGEST = 2_000_000
_CHUNK = 500
_NEAR_S = 0.05


def packed(parts: Sequence[tuple[float | None, float | None, str]]) -> str:
    """What an answer said, as JSON ``[[start, end, text], ...]``; nothing of one that is too long to keep."""
    if not parts:
        return "[]"
    text = json.dumps([list(part) for part in parts], ensure_ascii=False)
    return text if len(text) <= LONGEST else "[]"


def add(engine: Engine, rows: Sequence[Mapping[str, Any]]) -> set[Item]:
    """Store answers (keys: columns of ``answers``, item_ids a list), all or none.

    A request id seen before keeps its first row. Out: the items that were counted as shown.
    """
    kept = [{**row, "item_ids": json.dumps(row["item_ids"]) if row["item_ids"] else None} for row in rows]
    with engine.begin() as connection:
        new = insert(connection, answers).on_conflict_do_nothing().returning(answers.c.request_id)
        first = set(connection.execute(new, kept).scalars())
        shown = Counter((r["entity"], item) for r in rows if r["request_id"] in first for item in r["item_ids"])
        add_counts(connection, utc_now().date(), {item: {"shown": n} for item, n in shown.items()})
    return set(shown)


def add_counts(connection: Connection, day: date, deltas: Mapping[Item, Mapping[str, int]]) -> None:
    """Add ``{(entity, item_id): {shown|up|down: number}}`` to ``day``; sorted, so that two writers cannot deadlock."""
    rows = [
        {"day": day, "entity": item[0], "item_id": item[1], **dict.fromkeys(COUNTS, 0), **deltas[item]}
        for item in sorted(deltas)
    ]
    if rows:
        connection.execute(adding(insert(connection, item_days)), rows)


def totals(engine: Engine, entity: str, item_ids: Iterable[str]) -> list[tuple[str, int, int, int]]:
    """(item_id, shown, up, down) over all days, for those of an entity's items that have any count."""
    wanted, out = sorted(item_ids), []
    sums, own = [func.sum(item_days.c[name]) for name in COUNTS], item_days.c.item_id
    with engine.begin() as connection:
        for at in range(0, len(wanted), _CHUNK):
            few = own.in_(wanted[at : at + _CHUNK]) & (item_days.c.entity == entity)
            query = select(own, *sums).where(few).group_by(own)
            out += [(p, int(s), int(u), int(d)) for p, s, u, d in connection.execute(query)]
    return out


def span_of(
    parts: str, duration: float | None, start: float | None, end: float | None, corrected: bool
) -> tuple[float, float | None]:
    """The times of the part, or the run of parts, that a vote means: as the answer has them, within the recording.

    ``start`` and ``end`` are the client's, ``None`` for the whole answer. Errors: `SluiceError` for times at which no
    part of the answer begins or ends, or that lie after the recording's ``duration``.
    """
    if start is None:
        if end is not None:
            raise SluiceError("'end' without 'start': send both times of a part, or none for the whole answer")
        return WHOLE, None
    timed = [(float(row[0]), row[1]) for row in json.loads(parts) if row[0] is not None]
    first = next((row for row in timed if abs(row[0] - start) < _NEAR_S), None)
    if first is None or (duration is not None and first[0] >= duration):
        raise SluiceError(f"no part of that answer begins at {start:g} s; send the times of one of its parts")
    ends = [float(row[1]) for row in timed if row[1] is not None and row[1] > first[0]]
    last = first[1] if end is None else next((one for one in ends if abs(one - end) < _NEAR_S), None)
    if last is None and (end is not None or corrected):
        raise SluiceError(
            f"no part of that answer from {start:g} s on ends at {end or 0:g} s; send the times of one of its parts"
        )
    if last is None:
        return first[0], None
    return first[0], float(last) if duration is None else min(float(last), duration)


def answer_at(parts: str, start: float) -> str:
    """What the answer said at ``start`` seconds; all of it at `WHOLE`."""
    rows = json.loads(parts)
    if start == WHOLE:
        return "\n".join(text for _, _, text in rows)
    near = [row for row in rows if row[0] is not None and abs(row[0] - start) < _NEAR_S]
    return str(near[0][2]) if near else ""


def forget_old(engine: Engine, days: int) -> None:
    """Drop answers older than ``days`` that nobody voted on; the counts stay."""
    old = answers.c.at < utc_now() - timedelta(days=days)
    with engine.begin() as connection:
        connection.execute(delete(answers).where(old, answers.c.request_id.not_in(select(votes.c.request_id))))
