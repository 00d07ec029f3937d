"""What the feature store keeps of lectures and their segments: pure functions from segments to rows."""

from pathlib import Path

import pandas as pd
import pyarrow as pa

from components.featurize.sources import KEYS, STAMP, write_source

SEGMENT = ("start_s", "end_s", "speech_rate", "silence_share", "confidence")
LECTURE = {"duration_s": "lecture_duration_s", "loudness": "lecture_loudness", "silence": "lecture_silence_share"}
"""Features of a lecture that each of its segments repeats, and the column that does."""
COLUMNS = ["passage_id", "path", "n_tokens", "changed_at", *SEGMENT, *LECTURE.values()]
SEGMENT_SCHEMA = pa.schema(
    [*KEYS, ("lecture_id", pa.string()), ("n_tokens", pa.int64()), *((name, pa.float64()) for name in SEGMENT)]
)
LECTURE_SCHEMA = pa.schema(
    [("lecture_id", pa.string()), ("event_timestamp", STAMP), ("lecture_segments", pa.int64())]
    + [(f"lecture_{name}", pa.float64()) for name in (*LECTURE, "speech_rate", "confidence")]
)


def write_sources(passages: pd.DataFrame, folder: Path, now: pd.Timestamp) -> None:
    """Write ``folder/{segment,lecture}_features.parquet`` where the passages are segments of lectures.

    Otherwise the files of an earlier run stay; without one they are made empty, for the feature store wants them.
    """
    speech = set(COLUMNS) <= set(passages.columns)
    rows = passages if speech else pd.DataFrame(columns=COLUMNS)
    for name, make, schema in (
        ("segment_features", segment_rows, SEGMENT_SCHEMA),
        ("lecture_features", lecture_rows, LECTURE_SCHEMA),
    ):
        if speech or not (folder / f"{name}.parquet").is_file():
            write_source(make(rows, now), schema, folder / f"{name}.parquet")


def segment_rows(passages: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Features of every segment, known since its recording was last changed (at the latest ``now``)."""
    out = passages[["passage_id", "n_tokens", *SEGMENT]].copy()
    out["lecture_id"], out["event_timestamp"] = passages["path"], _changed(passages, now)
    return out


def lecture_rows(passages: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Features of every lecture: its own measures, and the means over its segments weighted by their seconds."""
    seconds = (passages["end_s"] - passages["start_s"]).astype("float64")
    own = passages.assign(event_timestamp=_changed(passages, now), seconds=seconds)
    for name in ("speech_rate", "confidence"):
        own[name] = own[name].astype("float64") * seconds
    grouped = own.groupby("path", sort=True)
    out = grouped["event_timestamp"].max().to_frame()
    out["lecture_segments"] = grouped.size()
    for name, column in LECTURE.items():
        out[f"lecture_{name}"] = grouped[column].first().astype("float64")
    for name in ("speech_rate", "confidence"):
        out[f"lecture_{name}"] = grouped[name].sum() / grouped["seconds"].sum()
    return out.rename_axis("lecture_id").reset_index()


def _changed(passages: pd.DataFrame, now: pd.Timestamp) -> "pd.Series[pd.Timestamp]":
    changed = pd.to_datetime(passages["changed_at"], utc=True)
    return changed.where(changed <= now, now)
