"""What pipelines read of the feedback database, as tables."""

import json
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from serving.contract.errors import SluiceError
from serving.feedback.answers import answer_at
from serving.feedback.tables import (
    COUNTS,
    WHOLE,
    answers,
    connect,
    create_tables,
    feedback_url,
    item_days,
    reviews,
    votes,
)

Frame = pd.DataFrame


def labelled(task: str, url: str | None = None) -> Frame:
    """Votes on a task's answers as rows to learn from: asked str, item_ids list[str], vote str, correction, at (UTC).

    ``asked``: the question; ``item_ids``: what was shown; ``correction``: str or None. One row an answer, whoever many
    voted: the side with more votes (the latest on a tie), the latest correction and time. Errors: `SluiceError` when
    the database does not answer.
    """
    names = ["request_id", "asked", "item_ids", "vote", "correction", "at"]
    columns = [*(answers.c[name] for name in names[:3]), *(votes.c[name] for name in names[3:])]
    of_task = (answers.c.task == task) & answers.c.item_ids.is_not(None)
    frame = read(url, select(*columns).select_from(_voted()).where(of_task).order_by(votes.c.at), names)
    weights = frame.assign(side=frame["vote"].map({"up": 1, "down": -1})).groupby("request_id")["side"].sum()
    frame["correction"] = frame.groupby("request_id")["correction"].ffill()
    frame = frame.drop_duplicates("request_id", keep="last", ignore_index=True)
    sides = frame["request_id"].map(weights)
    frame["vote"] = frame["vote"].where(sides == 0, sides.map(lambda side: "up" if side > 0 else "down"))
    frame["correction"] = frame["correction"].astype(object).where(frame["correction"].notna(), None)
    frame["item_ids"] = frame["item_ids"].map(json.loads)
    return _in_utc(frame, "at").drop(columns="request_id")


def corrections(task: str, url: str | None = None) -> Frame:
    """Votes on transcripts, summaries and their parts, oldest first.

    Columns: request_id, voter, revision, name str (the recording's file name without ending, or ""), recording str (the
    SHA-256 of its bytes, "" where that is not known), start and end float64 (seconds; NaN: the whole answer), answer
    str (what was said there), vote str, correction str | None, at timestamp UTC. Errors: `SluiceError` when the
    database does not answer.
    """
    names = [
        "request_id",
        "voter",
        "revision",
        "name",
        "recording",
        "parts",
        "start",
        "end",
        "vote",
        "correction",
        "at",
    ]
    columns = [votes.c.request_id, votes.c.voter, *(answers.c[name] for name in names[2:6])]
    columns += [votes.c[name] for name in ("start_s", "end_s", "vote", "correction", "at")]
    query = select(*columns).select_from(_voted()).where(answers.c.task == task).order_by(votes.c.at)
    frame = read(url, query, names).astype({"start": "float64", "end": "float64"})
    said = [answer_at(*pair) for pair in zip(frame["parts"], frame["start"], strict=True)]
    frame["parts"] = pd.Series(said, dtype=object)
    frame["recording"] = frame["recording"].fillna("")
    frame["start"] = frame["start"].where(frame["start"] != WHOLE)
    return _in_utc(frame, "at").rename(columns={"parts": "answer"})


def votes_by_revision(since: float, url: str | None = None) -> Frame:
    """Votes given at ``since`` (epoch seconds) or later, counted: revision str, vote ("up", "down"), votes int64.

    An answer has one vote of a voter, their latest, however many of its parts they marked. Errors: `SluiceError` when
    the database does not answer.
    """
    after = datetime.fromtimestamp(since, UTC).replace(tzinfo=None)
    columns = [votes.c.request_id, votes.c.voter, answers.c.revision, votes.c.vote, votes.c.at]
    query = select(*columns).select_from(_voted()).where(votes.c.at >= after)
    frame = read(url, query, [column.name for column in columns])
    frame = frame.sort_values("at").drop_duplicates(["request_id", "voter"], keep="last")
    return frame.groupby(["revision", "vote"], as_index=False).size().rename(columns={"size": "votes"})


def daily_counts(entity: str, url: str | None = None) -> Frame:
    """Counts of an entity's items by day: day timestamp (midnight, UTC), a str column named as the entity, shown, up,
    down int64, ordered by day. Errors: `SluiceError` when the database does not answer.
    """
    columns = [item_days.c[name] for name in ("day", "item_id", *COUNTS)]
    query = select(*columns).where(item_days.c.entity == entity).order_by(columns[0], columns[1])
    return _in_utc(read(url, query, ["day", entity, *COUNTS]), "day").astype(dict.fromkeys(COUNTS, "int64"))


def feedback_count(url: str | None = None) -> int:
    """How much people have said that a pipeline learns from: answers with items voted on, reviews of corrections."""
    shown = select(func.count(func.distinct(answers.c.request_id))).select_from(_voted())
    asked = shown.where(answers.c.item_ids.is_not(None))
    frame = read(
        url, select(asked.scalar_subquery(), select(func.count(reviews.c.number)).scalar_subquery()), ["v", "r"]
    )
    return int(frame.iloc[0].sum())


def read(url: str | None, query: Any, columns: list[str]) -> Frame:
    """The rows of a query. Errors: `SluiceError` when the database does not answer."""
    engine = connect(url or feedback_url())
    try:
        create_tables(engine)
        with engine.begin() as connection:
            return pd.DataFrame([tuple(row) for row in connection.execute(query)], columns=columns)
    except SQLAlchemyError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise SluiceError(f"feedback database {where} does not answer; check SLUICE_FEEDBACK_DB ({error})") from error
    finally:
        engine.dispose()


def _voted() -> Any:
    return answers.join(votes, answers.c.request_id == votes.c.request_id)


def _in_utc(frame: Frame, column: str) -> Frame:
    frame[column] = pd.to_datetime(frame[column]).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    return frame
