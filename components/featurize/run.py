"""Featurize: feed the feature store and read back what training and serving will see."""

import logging
import time
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from components.common.step import Settings
from components.featurize import sources
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file
from serving.feedback import daily_counts, feedback_url

log = logging.getLogger(__name__)

_PASSAGE_COLUMNS = ["passage_id", "kind", "n_tokens", "documented", "changed_at", "n_changes"]


class FeaturizeSettings(Settings):
    """``max_days``: most days of questions in the frame; ``online_chunk``: passages a read of the online store."""

    max_days: int = Field(default=60, ge=1)
    online_chunk: int = Field(default=2000, ge=1, le=30_000)


def run(
    passages: Path | str, questions: Path | str, settings: FeaturizeSettings, frame: Path | str, snapshot: Path | str
) -> None:
    """Feed passages and the feedback so far to the feature store, then write ``frame`` and ``snapshot`` (parquet).

    frame: event_timestamp (timestamp us UTC: the midnight that ends the day of asking), passage_id and the eight
    features, numbers int64, as known at that time. snapshot: passage_id and the features read from the online store.
    What the store does not know is 0 (kind: ""). Running it again gives the same; a passage that changed is replaced.
    Errors: `SluiceError` for a missing file, column or any passage, or a feedback database that does not answer.
    """
    began = time.monotonic()
    table = sources.read(passages, _PASSAGE_COLUMNS, "ingest")
    asked = sources.read(questions, ["asked_at"], "make_qa")["asked_at"]
    if table.empty:
        raise SluiceError(f"{passages}: no passages; check the source that components/ingest read")
    from components.featurize import store as feast_store
    from feature_repo.paths import features_dir

    folder, ids = features_dir(), table["passage_id"].tolist()
    with feast_store.locked(folder):
        now = pd.Timestamp.now(tz="UTC").floor("us")
        daily = daily_counts(feedback_url())
        sources.write_source(
            sources.passage_rows(table, now), sources.PASSAGE_SCHEMA, folder / "passage_features.parquet"
        )
        sources.write_source(
            sources.feedback_rows(daily, now.floor("D")), sources.FEEDBACK_SCHEMA, folder / "feedback_features.parquet"
        )
        feast_store.share(folder)
        with feast_store.opened() as store:
            past = feast_store.history(store, ids, sources.days_asked(asked, settings.max_days))
            feast_store.load(store, current_counts(daily, now), now)
            present = feast_store.online(store, ids, settings.online_chunk)
    _write(past.sort_values(["event_timestamp", "passage_id"]), ["event_timestamp", "passage_id"], frame)
    _write(present, ["passage_id"], snapshot)
    log.info("%d passages, %d rows of history in %.1f s", len(ids), len(past), time.monotonic() - began)


def current_counts(daily: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Totals up to this moment of the passages on which the day in progress has already counted something."""
    today = daily.loc[daily["day"] >= now.floor("D"), "passage_id"]
    return daily[daily["passage_id"].isin(today)].groupby("passage_id", as_index=False)[["shown", "up", "down"]].sum()


def _write(rows: pd.DataFrame, keys: list[str], path: Path | str) -> None:
    fields = [("event_timestamp", sources.STAMP)] if "event_timestamp" in keys else []
    schema = pa.schema(
        [*fields, ("passage_id", pa.string()), ("kind", pa.string()), *((n, pa.int64()) for n in sources.NUMBERS)]
    )
    clean = sources.filled(rows, [*keys, *sources.FEATURES])
    with atomic_file(path) as scratch:
        pq.write_table(pa.Table.from_pandas(clean, schema, preserve_index=False), scratch, coerce_timestamps="us")
