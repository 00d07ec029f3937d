"""Features of passages: what is known of each, and how often it was shown and voted on, as of each day of asking."""

from collections.abc import Mapping

import pandas as pd
from pydantic import Field

from components.featurize.settings import FeaturizeSettings
from feature_repo.tasks.retrieval import SERVICE as SERVICE
from feature_repo.tasks.retrieval import objects as objects
from serving.feedback import daily_counts, feedback_url
from serving.retrieval import PASSAGES

CORPUS = ("passage_id", "kind", "n_tokens", "documented", "changed_at", "n_changes")
EXAMPLES = ("asked_at",)
ONLINE = SERVICE

DAY = pd.Timedelta(days=1)
AFTER_MIDNIGHT = pd.Timedelta(seconds=1)
COUNTS = ["shown", "up", "down"]


class Settings(FeaturizeSettings):
    """Section ``featurize`` of a retriever. ``max_days``: most days of questions in the frame."""

    max_days: int = Field(default=60, ge=1)


def feedback() -> pd.DataFrame:
    """One row a day and passage: day (UTC midnight), passage_id, shown, up, down."""
    return daily_counts(PASSAGES.entity, feedback_url())


def from_tables(
    passages: pd.DataFrame, questions: pd.DataFrame, daily: pd.DataFrame, now: pd.Timestamp
) -> dict[str, pd.DataFrame]:
    """Passage features with the event time of the passage's last change.

    A change dated after ``now`` (a clock that ran ahead) counts as just made: the store would never show it otherwise.
    """
    changed = pd.to_datetime(passages["changed_at"], utc=True).fillna(pd.Timestamp(0, tz="UTC"))
    changed = changed.where(changed <= now, now)
    rows = {
        "passage_id": passages["passage_id"],
        "event_timestamp": changed,
        "kind": passages["kind"].fillna(""),
        "n_tokens": passages["n_tokens"].fillna(0).astype("int64"),
        "documented": passages["documented"].fillna(False).astype("int64"),
        "changed_day": (changed - pd.Timestamp(0, tz="UTC")) // DAY,
        "n_changes": passages["n_changes"].fillna(0).astype("int64"),
    }
    return {"passage_features": pd.DataFrame(rows)}


def from_feedback(daily: pd.DataFrame, now: pd.Timestamp) -> dict[str, pd.DataFrame]:
    """Running totals of shown, up and down at the end of every closed day on which they moved.

    A day's total becomes known one second after the midnight that ends it, so a question, whose features are read at
    that midnight, never sees votes of its own day: its own answer's votes are among them. The day in progress is left
    out; the push source carries it.
    """
    closed = daily[daily["day"] < now.floor("D")].sort_values("day", kind="stable")
    totals = closed.groupby("passage_id")[COUNTS].cumsum()
    totals.insert(0, "passage_id", closed["passage_id"])
    totals.insert(1, "event_timestamp", closed["day"] + DAY + AFTER_MIDNIGHT)
    return {"feedback_features": totals}


def pushed(rows: Mapping[str, pd.DataFrame], daily: pd.DataFrame, now: pd.Timestamp) -> dict[str, pd.DataFrame]:
    """Totals up to this moment of the passages on which the day in progress has already counted something."""
    today = daily.loc[daily["day"] >= now.floor("D"), "passage_id"]
    totals = daily[daily["passage_id"].isin(today)].groupby("passage_id", as_index=False)[COUNTS].sum()
    return {PASSAGES.push: totals.assign(event_timestamp=now)}


def entity_df(passages: pd.DataFrame, questions: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Every passage at the midnight (UTC) that ends each day on which questions were asked.

    Beyond ``max_days`` those with the fewest questions are left out, so the day of the generated ones always stays.
    """
    days = pd.to_datetime(questions["asked_at"], utc=True).dropna().dt.ceil("D").rename("day")
    ordered = days.value_counts().reset_index(name="n").sort_values(["n", "day"], ascending=False)
    kept = pd.DatetimeIndex(ordered["day"].head(settings.max_days)).sort_values()
    grid = pd.MultiIndex.from_product([kept, passages["passage_id"]], names=["event_timestamp", "passage_id"])
    return grid.to_frame(index=False)


def entity_rows(passages: pd.DataFrame, questions: pd.DataFrame) -> pd.DataFrame:
    """Every passage."""
    return passages[["passage_id"]]
