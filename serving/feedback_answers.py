"""Feedback on answers that name no passages, such as transcripts and summaries: what was said, and what was wrong.

An answer is kept as its parts, each with its times, so that a correction of one part finds what it corrects. Tables of
their own beside those of `serving.feedback_tables`, in the same database.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any

from sqlalchemy import Column, DateTime, Engine, Float, String, Table, Text, delete, select

from serving.feedback_tables import insert, metadata, utc_now

WHOLE = -1.0
"""The start that stands for an answer as a whole: a key cannot be empty."""
LONGEST = 2_000_000
PARTS = ("bullets", "segments")

answers = Table(
    "answers",
    metadata,
    Column("request_id", String(200), primary_key=True),
    Column("revision", String(200), nullable=False),
    Column("task", String(40), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("parts", Text, nullable=False),
    Column("at", DateTime, nullable=False, index=True),
)
answer_votes = Table(
    "answer_votes",
    metadata,
    Column("request_id", String(200), primary_key=True),
    Column("start_s", Float, primary_key=True),
    Column("end_s", Float),
    Column("vote", String(4), nullable=False),
    Column("correction", Text),
    Column("at", DateTime, nullable=False),
)


def parts_of(result: Mapping[str, Any]) -> str:
    """What an answer said, as JSON ``[[start, end, text], ...]``: its bullets or segments, or else its text."""
    rows = next((result[name] for name in PARTS if name in result), None)
    if rows is None:
        rows = [{"text": result.get("text", "")}]
    text = json.dumps([[row.get("start"), row.get("end"), row.get("text", "")] for row in rows], ensure_ascii=False)
    return text if len(text) <= LONGEST else "[]"


def add_answers(engine: Engine, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store answers (keys: columns of ``answers``). A request id seen before keeps its first row."""
    with engine.begin() as connection:
        connection.execute(insert(connection, answers).on_conflict_do_nothing(), list(rows))


def add_answer_vote(engine: Engine, request_id: str, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Store a vote (vote, correction, start, end; start None: on the whole); None when the request is unknown.

    One part of an answer has one vote: a later one takes the earlier one's place.
    """
    start = WHOLE if given["start"] is None else float(given["start"])
    values = {"vote": given["vote"], "correction": given["correction"], "end_s": given["end"], "at": utc_now()}
    with engine.begin() as connection:
        row = connection.execute(select(answers).where(answers.c.request_id == request_id)).first()
        if row is None:
            return None
        statement = insert(connection, answer_votes).values(request_id=request_id, start_s=start, **values)
        keys = ["request_id", "start_s"]
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))
    shared = {"request_id": request_id, "revision": row.revision, "name": row.name, "passage_ids": []}
    return {**shared, **given, "at": values["at"].replace(tzinfo=UTC).isoformat()}


def corrections_query(task: str) -> Any:
    """Votes on a task's answers, oldest first: the columns of `rows_of`."""
    columns = [answers.c[name] for name in ("request_id", "revision", "name", "parts")]
    columns += [answer_votes.c[name] for name in ("start_s", "end_s", "vote", "correction", "at")]
    joined = answers.join(answer_votes, answers.c.request_id == answer_votes.c.request_id)
    return select(*columns).select_from(joined).where(answers.c.task == task).order_by(answer_votes.c.at)


def answer_at(parts: str, start: float) -> str:
    """What the answer said at ``start`` seconds; all of it at `WHOLE`."""
    rows = json.loads(parts)
    if start == WHOLE:
        return "\n".join(text for _, _, text in rows)
    near = [row for row in rows if row[0] is not None and abs(row[0] - start) < 0.05]
    return str(near[0][2]) if near else ""


def forget_old_answers(engine: Engine, days: int) -> None:
    """Drop answers older than ``days`` that nobody voted on."""
    old = answers.c.at < utc_now() - timedelta(days=days)
    with engine.begin() as connection:
        connection.execute(delete(answers).where(old, answers.c.request_id.not_in(select(answer_votes.c.request_id))))
