"""What was answered: cited answers with their passages, others as their parts, each with its times.

So a vote finds the passages that it is about, and a correction of one part finds what it corrects.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, select

from serving.contract.errors import SluiceError
from serving.feedback.tables import COUNTS, WHOLE, answers, insert, passage_days, served, utc_now, votes

LONGEST = 2_000_000
_CHUNK = 500
_NEAR_S = 0.05


def packed(parts: Sequence[tuple[float | None, float | None, str]]) -> str:
    """What an answer said, as JSON ``[[start, end, text], ...]``; nothing of one that is too long to keep."""
    text = json.dumps([list(part) for part in parts], ensure_ascii=False)
    return text if len(text) <= LONGEST else "[]"


def add(engine: Engine, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Store answers (keys: columns of ``served``, passage_ids a list, or of ``answers``), all or none.

    A request id seen before keeps its first row. Out: the passages that were counted as shown.
    """
    cited = [{**row, "passage_ids": json.dumps(row["passage_ids"])} for row in rows if "passage_ids" in row]
    others = [row for row in rows if "passage_ids" not in row]
    with engine.begin() as connection:
        if others:
            connection.execute(insert(connection, answers).on_conflict_do_nothing(), others)
        if not cited:
            return set()
        new = insert(connection, served).on_conflict_do_nothing().returning(served.c.request_id)
        kept = set(connection.execute(new, cited).scalars())
        shown = Counter(p for row in rows if row["request_id"] in kept for p in row.get("passage_ids", ()))
        add_counts(connection, utc_now().date(), {p: {"shown": n} for p, n in shown.items()})
    return set(shown)


def add_counts(connection: Connection, day: date, deltas: Mapping[str, Mapping[str, int]]) -> None:
    """Add ``{passage_id: {shown|up|down: number}}`` to ``day``; sorted, so that two writers cannot deadlock."""
    rows = [{"day": day, "passage_id": p, **dict.fromkeys(COUNTS, 0), **deltas[p]} for p in sorted(deltas)]
    if not rows:
        return
    statement = insert(connection, passage_days)
    added = {name: passage_days.c[name] + statement.excluded[name] for name in COUNTS}
    connection.execute(statement.on_conflict_do_update(index_elements=["day", "passage_id"], set_=added), rows)


def totals(engine: Engine, passage_ids: Iterable[str]) -> list[tuple[str, int, int, int]]:
    """(passage_id, shown, up, down) over all days, for those of ``passage_ids`` that have any count."""
    wanted, out = sorted(passage_ids), []
    sums = [func.sum(passage_days.c[name]) for name in COUNTS]
    with engine.begin() as connection:
        for at in range(0, len(wanted), _CHUNK):
            few = passage_days.c.passage_id.in_(wanted[at : at + _CHUNK])
            query = select(passage_days.c.passage_id, *sums).where(few).group_by(passage_days.c.passage_id)
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
    for table in (served, answers):
        old = table.c.at < utc_now() - timedelta(days=days)
        with engine.begin() as connection:
            connection.execute(delete(table).where(old, table.c.request_id.not_in(select(votes.c.request_id))))
