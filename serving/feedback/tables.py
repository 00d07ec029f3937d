"""The feedback database: what was answered, how users voted, and counts by day and item (SQLAlchemy, no ORM).

Works on SQLite (the laptop's file, shared by all revisions' processes) and PostgreSQL. Times are UTC without a zone.
All text passes through `Clean`: what a stranger sends cannot make a row that the database refuses.
"""

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Dialect,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    delete,
    event,
    inspect,
    literal,
    null,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.types import TypeDecorator

from serving.contract.errors import SluiceError
from serving.contract.files import home
from serving.core.call import storable

COUNTS = ("shown", "up", "down")
WHOLE = -1.0
"""The start that stands for an answer as a whole: a key cannot be empty."""
_LOCK = 0x511CE
"""Of PostgreSQL's advisory locks: two revisions that start at once create the tables one after the other."""


class Clean(TypeDecorator[str]):
    """Text without what PostgreSQL or UTF-8 refuses (see `serving.core.call.storable`)."""

    impl, cache_ok = String, True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """See `TypeDecorator`. Errors: TypeError for what is no text, before a database makes something else of it."""
        if not isinstance(value, str | None):
            raise TypeError(f"expected a text, got {type(value).__name__}")
        return None if value is None else storable(value)


metadata, _before = MetaData(), MetaData()
answers = Table(
    "answers",
    metadata,
    Column("request_id", Clean(200), primary_key=True),
    Column("revision", Clean(200), nullable=False),
    Column("task", Clean(40), nullable=False, index=True),
    Column("name", Clean(200), nullable=False),
    Column("recording", Clean(64)),  # SHA-256 of the bytes that were answered
    Column("duration_s", Float),
    Column("parts", Clean, nullable=False),
    Column("asked", Clean),
    Column("entity", Clean(40)),
    Column("item_ids", Clean),  # JSON list of what was shown, or NULL
    Column("at", DateTime, nullable=False, index=True),
)
_ADDED = ("recording", "duration_s", "asked", "entity", "item_ids")
"""Columns that earlier versions' table has not; all of them may be NULL, for such a version may still write there."""
votes = Table(
    "votes",
    metadata,
    Column("request_id", Clean(200), primary_key=True),
    Column("start_s", Float, primary_key=True),
    Column("voter", Clean(32), primary_key=True),
    Column("end_s", Float),
    Column("vote", Clean(4), nullable=False),
    Column("correction", Clean),
    Column("at", DateTime, nullable=False, index=True),
)
reviews = Table(
    "reviews",
    metadata,
    Column("number", Integer, primary_key=True),  # the last decision on a correction holds, earlier ones stay on record
    Column("id", Clean(16), nullable=False, index=True),
    Column("decision", Clean(8), nullable=False),
    Column("reviewer", Clean(100), nullable=False),
    Column("recording", Clean(64), nullable=False),
    Column("name", Clean(200), nullable=False),
    Column("start_s", Float, nullable=False),
    Column("end_s", Float, nullable=False),
    Column("correction", Clean, nullable=False),
    Column("over_reference", Boolean, nullable=False),
    Column("at", DateTime, nullable=False),
)
item_days = Table(
    "item_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("entity", Clean(40), primary_key=True),
    Column("item_id", Clean(64), primary_key=True),
    *(Column(name, Integer, nullable=False) for name in COUNTS),
    Index("item_days_by_item", "entity", "item_id"),
)
secret = Table(
    "secrets", metadata, Column("name", Clean(40), primary_key=True), Column("value", Clean(64), nullable=False)
)
# Votes before there were voters; their rows are copied, for a revision of that time may still write there.
_old_votes = [
    Table("feedback", _before, *(Column(name, kind) for name, kind in (
        ("request_id", String), ("vote", String), ("correction", String), ("at", DateTime)))),
    Table("answer_votes", _before, *(Column(name, kind) for name, kind in (
        ("request_id", String), ("start_s", Float), ("end_s", Float), ("vote", String), ("correction", String),
        ("at", DateTime)))),
]  # fmt: skip
# Cited answers and their counts while passages were all there was; their rows are moved, whenever there are some.
_served = Table("served", _before, *(Column(name, kind) for name, kind in (
    ("request_id", String), ("revision", String), ("question", String), ("passage_ids", String), ("at", DateTime)
)))  # fmt: skip
_passage_days = Table("passage_days", _before, Column("day", Date), Column("passage_id", String),
                      *(Column(name, Integer) for name in COUNTS))  # fmt: skip


def feedback_url() -> str:
    """``SLUICE_FEEDBACK_DB`` (a SQLAlchemy URL), or the laptop's file ``$SLUICE_HOME/feedback.db``."""
    return os.environ.get("SLUICE_FEEDBACK_DB") or f"sqlite:///{home() / 'feedback.db'}"


def feedback_file(url: str) -> Path | None:
    """The file of a SQLite URL; ``None`` for other databases."""
    return Path(url.removeprefix("sqlite:///")) if url.startswith("sqlite:///") else None


def utc_now() -> datetime:
    """Now, UTC, without a zone, as the tables hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


def connect(url: str, patience_s: int = 10) -> Engine:
    """An engine for ``url``; nothing is opened yet. A connection, lock or statement is given up after ``patience_s``.

    Errors: `SluiceError` for an address that cannot be meant, or a file in a place that cannot be made.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SluiceError(
            "SLUICE_FEEDBACK_DB is no SQLAlchemy URL; expected sqlite:///path or postgresql://…"
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise SluiceError(f"feedback database {parsed.get_backend_name()}: only sqlite and postgresql are supported")
    if parsed.get_backend_name() == "postgresql":
        # Without these a server that is cut off is waited for many minutes; what the URL says comes first.
        bounds = {"connect_timeout": patience_s, "tcp_user_timeout": 1000 * patience_s, "keepalives_idle": patience_s}
        told = {name: value for name, value in bounds.items() if name not in parsed.query}
        engine = create_engine(
            parsed, pool_pre_ping=True, pool_timeout=patience_s, connect_args=told, hide_parameters=True
        )
        event.listen(engine, "connect", lambda raw, _: _bound(raw, patience_s))
        return engine
    if parsed.database and parsed.database != ":memory:":
        folder = Path(parsed.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SluiceError(
                f"feedback database: cannot make the folder {folder} ({error.strerror}); name another place in "
                "SLUICE_HOME or SLUICE_FEEDBACK_DB"
            ) from error
    options: dict[str, Any] = {"timeout": patience_s, "isolation_level": None}
    engine = create_engine(parsed, connect_args=options, hide_parameters=True)
    event.listen(engine, "connect", _tune)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _bound(connection: Any, seconds: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET statement_timeout = {1000 * seconds}")
        cursor.execute(f"SET lock_timeout = {1000 * seconds}")
    connection.commit()


def _tune(connection: Any, _record: object) -> None:
    """Readers beside one writer, other writers wait. A power cut loses the last moment, a killed process nothing."""
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}")


def create_tables(engine: Engine) -> bytes:
    """Create what is missing, also in a database of earlier versions, whose rows all stay; all of it or nothing.

    Out: the store's salt.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        there = inspect(connection)
        for column in (answers.c[name] for name in _ADDED) if there.has_table("answers") else ():
            if column.name not in {known["name"] for known in there.get_columns("answers")}:
                kind = column.type.compile(connection.dialect)
                connection.execute(text(f"ALTER TABLE answers ADD COLUMN {column.name} {kind}"))
        metadata.create_all(connection)
        for old in _old_votes:
            if there.has_table(old.name):
                _copy(connection, old)
        _move(connection)
        new = insert(connection, secret).values(name="salt", value=secrets.token_hex(16)).on_conflict_do_nothing()
        connection.execute(new)
        return bytes.fromhex(connection.execute(select(secret.c.value).where(secret.c.name == "salt")).scalar_one())


def _copy(connection: Connection, old: Table) -> None:
    start = old.c.start_s if "start_s" in old.c else literal(WHOLE, Float)
    end = old.c.end_s if "end_s" in old.c else null()
    rows = select(old.c.request_id, start, literal(""), end, old.c.vote, old.c.correction, old.c.at)
    names = ["request_id", "start_s", "voter", "end_s", "vote", "correction", "at"]
    statement = insert(connection, votes).from_select(names, rows.where(old.c.vote != ""))
    connection.execute(statement.on_conflict_do_nothing())


def move(engine: Engine) -> bool:
    """Take over what a revision of an earlier version has written since. Out: whether there was anything."""
    with engine.begin() as connection:
        return _move(connection)


def _move(connection: Connection) -> bool:
    there = inspect(connection)
    old = [table for table in (_served, _passage_days) if there.has_table(table.name)]
    if not any(connection.execute(select(literal(1)).select_from(table).limit(1)).first() for table in old):
        return False
    if connection.dialect.name == "postgresql":  # nothing may come between reading and deleting; SQLite has one writer
        connection.execute(text(f"LOCK TABLE {', '.join(table.name for table in old)} IN EXCLUSIVE MODE"))
    if _served in old:
        rows = select(
            _served.c.request_id, _served.c.revision, literal("retrieval"), literal(""), literal("[]"),
            _served.c.question, literal("passage_id"), _served.c.passage_ids, _served.c.at,
        ).where(_served.c.request_id != "")  # fmt: skip
        names = ["request_id", "revision", "task", "name", "parts", "asked", "entity", "item_ids", "at"]
        connection.execute(insert(connection, answers).from_select(names, rows).on_conflict_do_nothing())
    if _passage_days in old:
        counts = (_passage_days.c[name] for name in COUNTS)
        rows = select(_passage_days.c.day, literal("passage_id"), _passage_days.c.passage_id, *counts)
        rows = rows.where(_passage_days.c.passage_id != "").order_by(_passage_days.c.passage_id)
        statement = insert(connection, item_days).from_select(["day", "entity", "item_id", *COUNTS], rows)
        connection.execute(adding(statement))
    for table in old:
        connection.execute(delete(table))
    return True


def adding(statement: Any) -> Any:
    """An INSERT into `item_days` whose counts are added to those that are there."""
    added = {name: item_days.c[name] + statement.excluded[name] for name in COUNTS}
    return statement.on_conflict_do_update(index_elements=["day", "entity", "item_id"], set_=added)


def insert(connection: Connection, table: Table) -> Any:
    """An INSERT of the database's own kind, which knows what to do about rows that are there."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
