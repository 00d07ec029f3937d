"""What a stream of samples sounds like as a whole, tallied while it passes: loudness, and where it is silent."""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from serving.media import RATE, Floats
from serving.media.levels import FRAME, active, decibels, levels

_LEAST = 0.2
"""Seconds from which quiet counts as a silence: shorter ones stand between the sounds of one word."""


class Tally:
    """Loudness and silences of everything that went through `listen`."""

    def __init__(self) -> None:
        self._power, self._count, self._frames, self._silent = 0.0, 0, 0, 0
        self._runs: list[tuple[int, int]] = []

    def listen(self, blocks: Iterable[Floats]) -> Iterator[Floats]:
        """Pass blocks (float32, 16 kHz mono) on, and measure them."""
        for block in blocks:
            self._power += float(np.square(block, dtype=np.float64).sum())
            self._count += len(block)
            quiet = ~active(levels(block))
            edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
            for low, high in (edges.reshape(-1, 2) + self._frames).tolist():
                if self._runs and self._runs[-1][1] == low:
                    low = self._runs.pop()[0]
                self._runs.append((low, high))
            self._frames += len(quiet)
            self._silent += int(quiet.sum())
            yield block

    @property
    def seconds(self) -> float:
        """Length of what was heard."""
        return self._count / RATE

    @property
    def loudness(self) -> float:
        """RMS in decibels below full scale, at least -100."""
        return decibels(math.sqrt(self._power / max(self._count, 1)))

    @property
    def silence_share(self) -> float:
        """Share of 20 ms frames without sound above the background: 0..1."""
        return self._silent / max(self._frames, 1)

    def silences(self) -> list[dict[str, float]]:
        """Spans without sound of 0.2 s and more: start and end in seconds."""
        step = FRAME / RATE
        return [{"start": a * step, "end": b * step} for a, b in self._runs if (b - a) * step >= _LEAST]
