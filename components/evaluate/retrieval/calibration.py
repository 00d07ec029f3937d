"""Does a confidence of 0.8 mean right in 8 of 10 cases, and what does abstaining buy? Pure functions on arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Bin(NamedTuple):
    """One bar of a reliability plot: mean confidence, share correct, number of answers."""

    confidence: float
    accuracy: float
    size: int


class Curve(NamedTuple):
    """Risk over coverage: ``risk[i]`` is the error rate of the ``coverage[i]`` most confident share of answers."""

    coverage: Floats
    risk: Floats

    @property
    def area(self) -> float:
        """Area under the curve (AURC, Geifman & El-Yaniv 2017), smaller is better."""
        return float(np.mean(self.risk))


def reliability(confidence: Floats, correct: NDArray[np.bool_], bins: int = 10) -> list[Bin]:
    """Bins of equal mass: sorted by confidence, each holds the same number of answers (±1).

    Equal mass instead of Naeini et al.'s (2015) equal width, because confidences crowd at the ends and wide, empty bins
    hide it (Nixon et al. 2019, adaptive calibration error).
    """
    order = np.argsort(confidence, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return [Bin(float(np.mean(confidence[p])), float(np.mean(correct[p])), len(p)) for p in parts]


def expected_calibration_error(bins: list[Bin]) -> float:
    """Mean gap between confidence and accuracy, weighted by bin size (Naeini et al. 2015), 0 to 1."""
    total = sum(b.size for b in bins)
    return sum(b.size * abs(b.confidence - b.accuracy) for b in bins) / total if total else float("nan")


def brier(confidence: Floats, correct: NDArray[np.bool_]) -> float:
    """Mean squared distance of confidence to outcome (Brier 1950), 0 to 1."""
    return float(np.mean((confidence - correct.astype(np.float64)) ** 2))


def risk_coverage(confidence: Floats, correct: NDArray[np.bool_]) -> Curve:
    """Error rate among the most confident answers, for every coverage from 1/n to 1."""
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(order) + 1)
    return Curve(counts / len(order), np.cumsum(~correct[order]) / counts)
