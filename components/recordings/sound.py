"""The sound of a recording, from its stage "windows": any span of it as samples, or all of it as a file."""

import wave
from bisect import bisect_right
from pathlib import Path

import numpy as np

from components.recordings.tables import stage_file
from serving.media import RATE

_GAP = 30 * RATE


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
