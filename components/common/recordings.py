"""A directory of recordings: ``<lecture_id>/<stage>.parquet`` with its version each, their sound, the quarantine."""

import hashlib
import json
import wave
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file
from serving.media import RATE

if TYPE_CHECKING:
    import pyarrow as pa

QUARANTINE = "quarantine.parquet"
_NOTES = b"sluice"
_GAP = 30 * RATE


def schema_of(stage: str) -> "pa.Schema":
    """Columns of a stage. Times are seconds of the recording (float64), samples int16 little-endian mono 16 kHz."""
    import pyarrow as pa

    span = [("start", pa.float64()), ("end", pa.float64())]
    question = pa.struct([("question", pa.string()), ("answer", pa.string()), ("start", pa.float64())])
    word = pa.struct([("word", pa.string()), *span, ("confidence", pa.float32())])
    text = {name: pa.string() for name in ("lecture_id", "title", "file", "sha256", "codec")}
    recording = {
        **text, "duration_s": pa.float64(), "sample_rate": pa.int32(), "channels": pa.int32(),
        "loudness": pa.float32(), "silence_share": pa.float32(), "video": pa.bool_(), "speaker": pa.string(),
        "condition": pa.string(), "split": pa.string(), "changed_at": pa.timestamp("us", tz="UTC"),
        "note": pa.string(), "bullets": pa.list_(pa.string()), "questions": pa.list_(question),
    }  # fmt: skip
    return pa.schema(
        {
            "recording": recording,
            "windows": [("window", pa.int32()), *span, ("samples", pa.binary())],
            "silences": span,
            "reference": [*span, ("text", pa.string()), ("speaker", pa.string())],
            "transcript": [
                ("id", pa.int32()), *span, ("text", pa.string()), ("language", pa.string()),
                ("confidence", pa.float32()), ("no_speech", pa.float32()), ("words", pa.list_(word)),
            ],
            "quarantine": [(name, pa.string()) for name in ("lecture", "file", "reason")],
        }[stage]
    )  # fmt: skip


def version_of(*parts: str) -> str:
    """16 hex digits over what a stage was made from: the digests before it, and its settings."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def write_stage(folder: Path, lecture_id: str, stage: str, rows: Iterable[Mapping[str, Any]], version: str) -> None:
    """Write ``<folder>/<lecture_id>/<stage>.parquet`` row by row in small groups: memory does not grow with length.

    The file's metadata key "sluice" says lecture, stage and ``version``.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = json.dumps({"lecture_id": lecture_id, "stage": stage, "version": version}).encode()
    schema = schema_of(stage).with_metadata({_NOTES: about})
    with (
        atomic_file(folder / lecture_id / f"{stage}.parquet") as scratch,
        pq.ParquetWriter(scratch, schema, compression="zstd", coerce_timestamps="us") as writer,
    ):
        batch: list[Mapping[str, Any]] = []
        for row in rows:
            batch.append(row)
            if len(batch) == 8:
                writer.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(pa.Table.from_pylist(batch, schema))


def stage_file(folder: Path, lecture_id: str, stage: str) -> Path:
    """Where a stage lies. Errors: `SluiceError` that names the lectures there are."""
    path = folder / lecture_id / f"{stage}.parquet"
    if not path.is_file():
        known = ", ".join(lectures(folder, stage)[:8]) or "none"
        raise SluiceError(f"{path}: no such table; lectures with stage {stage} here: {known}")
    return path


def read_stage(folder: Path, lecture_id: str, stage: str) -> "pa.Table":
    """One lecture's stage. Errors: `SluiceError` when it is missing or lacks a column."""
    import pyarrow.parquet as pq

    path = stage_file(folder, lecture_id, stage)
    table = pq.read_table(path)
    if missing := [name for name in schema_of(stage).names if name not in table.column_names]:
        raise SluiceError(f"{path}: no column {', '.join(missing)}; run the step again that writes stage {stage}")
    return table


def version_in(folder: Path, lecture_id: str, stage: str) -> str:
    """The version that `write_stage` noted."""
    import pyarrow.parquet as pq

    notes = pq.read_schema(stage_file(folder, lecture_id, stage)).metadata or {}
    return str(json.loads(notes.get(_NOTES, b"{}")).get("version", ""))


def lectures(folder: Path, stage: str) -> list[str]:
    """Ids of the lectures that have the stage, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{stage}.parquet"))


def write_quarantine(target: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write lecture, file and reason of everything that was left out; an empty table when nothing was."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_file(target) as scratch:
        pq.write_table(pa.Table.from_pylist(list(rows), schema_of("quarantine")), scratch)


def read_quarantine(path: Path) -> list[dict[str, str]]:
    """What `write_quarantine` wrote; nothing where there is no such file."""
    import pyarrow.parquet as pq

    return list(pq.read_table(path).to_pylist()) if path.is_file() else []


class Sound:
    """Reads ``<folder>/<lecture_id>/windows.parquet``; silence between the windows is zeros. Few windows are in memory.

    ``duration_s``: seconds to the end of the last window.
    """

    rate = RATE

    def __init__(self, folder: Path, lecture_id: str) -> None:
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(stage_file(folder, lecture_id, "windows"))
        self._places: list[tuple[int, int]] = []
        self._spans: list[tuple[int, int]] = []
        for group in range(self._file.num_row_groups):
            rows = self._file.read_row_group(group, columns=["start", "end"]).to_pylist()
            self._places += [(group, at) for at in range(len(rows))]
            self._spans += [(round(row["start"] * RATE), round(row["end"] * RATE)) for row in rows]
        self._total = self._spans[-1][1] if self._spans else 0
        self.duration_s = self._total / RATE
        self._group: tuple[int, list[bytes]] = (-1, [])

    def cut(self, start: float, end: float) -> np.ndarray:
        """The samples from ``start`` to ``end`` (seconds): int16 [n]; what lies outside the recording is left out."""
        low, high = max(0, round(start * RATE)), min(self._total, round(end * RATE))
        out = np.zeros(max(0, high - low), "<i2")
        first = bisect_right([span[0] for span in self._spans], low) - 1
        for row in range(max(0, first), len(self._spans)):
            begin, stop = self._spans[row]
            if begin >= high:
                break
            a, b = max(low, begin), min(high, stop)
            if b > a:
                out[a - low : b - low] = self._samples(row)[a - begin : b - begin]
        return out

    def _samples(self, row: int) -> np.ndarray:
        group, inside = self._places[row]
        if self._group[0] != group:
            self._group = group, self._file.read_row_group(group, columns=["samples"])["samples"].to_pylist()
        return np.frombuffer(self._group[1][inside], "<i2")

    def write_wav(self, target: Path) -> None:
        """Write all of it as a 16-bit WAV file, half a minute at a time."""
        with wave.open(str(target), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(RATE)
            for low in range(0, self._total, _GAP):
                out.writeframes(self.cut(low / RATE, (low + _GAP) / RATE).tobytes())
