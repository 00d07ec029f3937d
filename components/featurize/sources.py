"""The rows that the feature store is fed with: pure functions from tables to tables."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file

NUMBERS = ("n_tokens", "documented", "changed_day", "n_changes", "shown", "up", "down")
FEATURES = ("kind", *NUMBERS)
STAMP = pa.timestamp("us", tz="UTC")
KEYS = [("passage_id", pa.string()), ("event_timestamp", STAMP)]
PASSAGE_SCHEMA = pa.schema([*KEYS, ("kind", pa.string()), *((n, pa.int64()) for n in NUMBERS[:4])])
FEEDBACK_SCHEMA = pa.schema([*KEYS, *((n, pa.int64()) for n in NUMBERS[4:])])

DAY = pd.Timedelta(days=1)
AFTER_MIDNIGHT = pd.Timedelta(seconds=1)


def read(path: Path | str, columns: list[str], made_by: str) -> pd.DataFrame:
    """Read ``columns`` of a parquet file. `SluiceError` names the file and what it lacks."""
    if not Path(path).is_file():
        raise SluiceError(f"{path}: no such file; components/{made_by} writes it")
    present = set(pq.read_schema(path).names)
    if missing := sorted(set(columns) - present):
        raise SluiceError(f"{path}: no column {', '.join(missing)}; see components/{made_by}")
    return pq.read_table(path, columns=columns).to_pandas()


def passage_rows(passages: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Passage features with the event time of the passage's last change.

    A change dated after ``now`` (a clock that ran ahead) counts as just made: the store would never show it otherwise.
    """
    changed = pd.to_datetime(passages["changed_at"], utc=True).fillna(pd.Timestamp(0, tz="UTC"))
    changed = changed.where(changed <= now, now)
    return pd.DataFrame(
        {
            "passage_id": passages["passage_id"],
            "event_timestamp": changed,
            "kind": passages["kind"].fillna(""),
            "n_tokens": passages["n_tokens"].fillna(0).astype("int64"),
            "documented": passages["documented"].fillna(False).astype("int64"),
            "changed_day": (changed - pd.Timestamp(0, tz="UTC")) // DAY,
            "n_changes": passages["n_changes"].fillna(0).astype("int64"),
        }
    )


def feedback_rows(daily: pd.DataFrame, today: pd.Timestamp) -> pd.DataFrame:
    """Running totals of shown, up and down at the end of every closed day on which they moved.

    ``daily`` holds one row a day and passage (day: UTC midnight). A day's total becomes known one second after the
    midnight that ends it, so a question, whose features are read at that midnight, never sees votes of its own day:
    its own answer's votes are among them. The day in progress is left out; the push source carries it.
    """
    closed = daily[daily["day"] < today].sort_values("day", kind="stable")
    totals = closed.groupby("passage_id")[["shown", "up", "down"]].cumsum()
    totals.insert(0, "passage_id", closed["passage_id"])
    totals.insert(1, "event_timestamp", closed["day"] + DAY + AFTER_MIDNIGHT)
    return totals


def write_source(rows: pd.DataFrame, schema: pa.Schema, path: Path) -> None:
    """Write a source of the feature store, whole or not at all; microseconds, as DuckDB reads them."""
    with atomic_file(path) as scratch:
        pq.write_table(pa.Table.from_pandas(rows, schema, preserve_index=False), scratch, coerce_timestamps="us")


def days_asked(asked_at: pd.Series, most: int) -> pd.DatetimeIndex:
    """The midnights (UTC) that end the days on which questions were asked, ascending.

    Beyond ``most`` days those with the fewest questions are left out, so the day of the generated ones always stays.
    """
    days = pd.to_datetime(asked_at, utc=True).dropna().dt.ceil("D")
    ordered = days.rename("day").value_counts().reset_index(name="n").sort_values(["n", "day"], ascending=False)
    return pd.DatetimeIndex(ordered["day"].head(most)).sort_values()


def filled(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """``columns`` of ``frame`` with unknown numbers as 0, unknown kinds as "", and numbers as int64."""
    out = frame[columns].copy()
    out["kind"] = out["kind"].fillna("").astype(object)
    for name in NUMBERS:
        out[name] = pd.to_numeric(out[name]).fillna(0).astype("int64")
    return out
