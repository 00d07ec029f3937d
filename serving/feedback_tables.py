"""The feedback database: what was answered, how users voted, and counts by day and passage (SQLAlchemy, no ORM).

Works on SQLite (the laptop's file, shared by all revisions' processes) and PostgreSQL. Times are UTC without a zone.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Date,
    DateTime,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from serving.errors import SluiceError

COUNTS = ("shown", "up", "down")
_CHUNK = 500

metadata = MetaData()
served = Table(
    "served",
    metadata,
    Column("request_id", String(200), primary_key=True),
    Column("revision", String(200), nullable=False),
    Column("question", Text, nullable=False),
    Column("passage_ids", Text, nullable=False),
    Column("at", DateTime, nullable=False, index=True),
)
feedback = Table(
    "feedback",
    metadata,
    Column("request_id", String(200), primary_key=True),
    Column("vote", String(4), nullable=False),
    Column("correction", Text),
    Column("at", DateTime, nullable=False),
)
passage_days = Table(
    "passage_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("passage_id", String(64), primary_key=True),
    *(Column(name, Integer, nullable=False) for name in COUNTS),
    Index("passage_days_by_passage", "passage_id"),
)


def utc_now() -> datetime:
    """Now, UTC, without a zone, as the tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


def connect(url: str) -> Engine:
    """An engine for ``url``; nothing is opened yet. `SluiceError` for an address that cannot be meant."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SluiceError(
            "SLUICE_FEEDBACK_DB is no SQLAlchemy URL; expected sqlite:///path or postgresql://…"
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise SluiceError(f"feedback database {parsed.get_backend_name()}: only sqlite and postgresql are supported")
    if parsed.get_backend_name() == "postgresql":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"timeout": 10, "isolation_level": None})
    event.listen(engine, "connect", _tune)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _tune(connection: Any, _record: object) -> None:
    """Readers beside one writer, other writers wait. A power cut loses the last moment, a killed process nothing."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000"):
        connection.execute(f"PRAGMA {pragma}")


def create_tables(engine: Engine) -> None:
    """Create what is missing."""
    with engine.begin() as connection:
        metadata.create_all(connection)


def insert(connection: Connection, table: Table) -> Any:
    """An INSERT of the database's own kind, which knows what to do about rows that are there."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def add_counts(connection: Connection, day: date, deltas: Mapping[str, Mapping[str, int]]) -> None:
    """Add ``{passage_id: {shown|up|down: number}}`` to ``day``; sorted, so that two writers cannot deadlock."""
    rows = [{"day": day, "passage_id": p, **dict.fromkeys(COUNTS, 0), **deltas[p]} for p in sorted(deltas)]
    if not rows:
        return
    statement = insert(connection, passage_days)
    added = {name: passage_days.c[name] + statement.excluded[name] for name in COUNTS}
    connection.execute(statement.on_conflict_do_update(index_elements=["day", "passage_id"], set_=added), rows)


def add_served(engine: Engine, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Store answered requests (keys: columns of ``served``, passage_ids a list) and count their passages as shown.

    Returns the passages counted. A request id seen before keeps its first row.
    """
    shown = Counter(passage for row in rows for passage in row["passage_ids"])
    with engine.begin() as connection:
        values = [{**row, "passage_ids": json.dumps(list(row["passage_ids"]))} for row in rows]
        connection.execute(insert(connection, served).on_conflict_do_nothing(), values)
        add_counts(connection, utc_now().date(), {p: {"shown": n} for p, n in shown.items()})
    return set(shown)


def add_vote(engine: Engine, request_id: str, vote: str, correction: str | None) -> dict[str, Any] | None:
    """Store a vote and count it for the passages of that answer; None when the request is unknown.

    One request has one vote: a later one takes the earlier one's place, in the counts too.
    """
    now = utc_now()
    with engine.begin() as connection:
        row = connection.execute(select(served).where(served.c.request_id == request_id).with_for_update()).first()
        if row is None:
            return None
        before = connection.execute(select(feedback.c.vote).where(feedback.c.request_id == request_id)).scalar()
        values = {"vote": vote, "correction": correction, "at": now}
        statement = insert(connection, feedback).values(request_id=request_id, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["request_id"], set_=values))
        passages: list[str] = json.loads(row.passage_ids)
        if before != vote:
            delta = {vote: 1} | ({before: -1} if before else {})
            add_counts(connection, now.date(), dict.fromkeys(passages, delta))
    return {
        "request_id": request_id,
        "revision": row.revision,
        "question": row.question,
        "passage_ids": passages,
        "vote": vote,
        "correction": correction,
        "at": now.replace(tzinfo=UTC).isoformat(),
    }


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


def forget_old(engine: Engine, days: int) -> None:
    """Drop answered requests older than ``days`` that nobody voted on; the counts stay."""
    old = served.c.at < utc_now() - timedelta(days=days)
    with engine.begin() as connection:
        connection.execute(delete(served).where(old, served.c.request_id.not_in(select(feedback.c.request_id))))
