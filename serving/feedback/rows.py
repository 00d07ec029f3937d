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
    passage_days,
    reviews,
    served,
    votes,
)

Frame = pd.DataFrame


def labelled(url: str | None = None) -> Frame:
    """Votes as training rows: question str, passage_ids list[str], vote str, correction str | None, at timestamp UTC.

    One row an answer, whoever many voted: the side with more votes (the latest on a tie), the latest correction and
    time. Errors: `SluiceError` when the database does not answer.
    """
    names = ["request_id", "question", "passage_ids", "vote", "correction", "at"]
    columns = [served.c.request_id, served.c.question, served.c.passage_ids]
    columns += [votes.c.vote, votes.c.correction, votes.c.at]
    joined = served.join(votes, served.c.request_id == votes.c.request_id)
    frame = read(url, select(*columns).select_from(joined).order_by(votes.c.at), names)
    weights = frame.assign(side=frame["vote"].map({"up": 1, "down": -1})).groupby("request_id")["side"].sum()
    frame["correction"] = frame.groupby("request_id")["correction"].ffill()
    frame = frame.drop_duplicates("request_id", keep="last", ignore_index=True)
    sides = frame["request_id"].map(weights)
    frame["vote"] = frame["vote"].where(sides == 0, sides.map(lambda side: "up" if side > 0 else "down"))
    frame["correction"] = frame["correction"].astype(object).where(frame["correction"].notna(), None)
    frame["passage_ids"] = frame["passage_ids"].map(json.loads)
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
    joined = answers.join(votes, answers.c.request_id == votes.c.request_id)
    query = select(*columns).select_from(joined).where(answers.c.task == task).order_by(votes.c.at)
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
    queries = [
        select(votes.c.request_id, votes.c.voter, answer.c.revision, votes.c.vote, votes.c.at)
        .select_from(answer.join(votes, answer.c.request_id == votes.c.request_id))
        .where(votes.c.at >= after)
        for answer in (served, answers)
    ]
    frame = read(url, queries[0].union_all(queries[1]), ["request_id", "voter", "revision", "vote", "at"])
    frame = frame.sort_values("at").drop_duplicates(["request_id", "voter"], keep="last")
    return frame.groupby(["revision", "vote"], as_index=False).size().rename(columns={"size": "votes"})


def daily_counts(url: str | None = None) -> Frame:
    """Counts by day: day timestamp (midnight, UTC), passage_id str, shown, up, down int64, ordered by day.

    Errors: `SluiceError` when the database does not answer.
    """
    columns = [passage_days.c[name] for name in ("day", "passage_id", *COUNTS)]
    frame = read(url, select(*columns).order_by(columns[0], columns[1]), [column.name for column in columns])
    return _in_utc(frame, "day").astype(dict.fromkeys(COUNTS, "int64"))


def feedback_count(url: str | None = None) -> int:
    """How much people have said that a pipeline learns from: answers voted on, and reviews of corrections."""
    cited = served.join(votes, served.c.request_id == votes.c.request_id)
    asked = select(func.count(func.distinct(served.c.request_id))).select_from(cited)
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


def _in_utc(frame: Frame, column: str) -> Frame:
    frame[column] = pd.to_datetime(frame[column]).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    return frame
