"""Does a confidence of 0.8 mean right in 8 of 10 cases, and what does abstaining buy? Pure functions on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from components.common.scores import Interval

Floats = NDArray[np.float64]
LEAST = 30
"""Answers of one bin, at least."""


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


def auroc(confidence: Floats, correct: NDArray[np.bool_]) -> float:
    """Chance that a right answer has more confidence than a wrong one (Hanley & McNeil 1982); NaN without either."""
    right, wrong = confidence[correct], np.sort(confidence[~correct])
    if not len(right) or not len(wrong):
        return float("nan")
    below = np.searchsorted(wrong, right, "left") + np.searchsorted(wrong, right, "right")
    return float(below.mean() / (2 * len(wrong)))


def bins_for(count: int, most: int) -> int:
    """Bins for so many answers: each holds `LEAST` or more, since the gap of a small bin is mostly chance."""
    return max(2, min(most, count // LEAST))


def resampled(figure: Callable[[NDArray[np.int64]], float], count: int, resamples: int, seed: int) -> Floats:
    """``figure`` of bootstrap samples, given as row numbers int64 [count]; samples without a value are left out."""
    rng = np.random.default_rng(seed)
    values = np.asarray([figure(rng.integers(0, count, count)) for _ in range(resamples)], np.float64)
    return values[np.isfinite(values)]


def auroc_interval(confidence: Floats, correct: NDArray[np.bool_], resamples: int, seed: int) -> Interval:
    """AUROC with its 95 % percentile bootstrap interval over questions."""
    drawn = resampled(lambda rows: auroc(confidence[rows], correct[rows]), len(correct), resamples, seed)
    low, high = np.quantile(drawn, [0.025, 0.975]) if len(drawn) else (float("nan"), float("nan"))
    return Interval(auroc(confidence, correct), float(low), float(high))


def ece_interval(confidence: Floats, correct: NDArray[np.bool_], bins: int, resamples: int, seed: int) -> Interval:
    """Expected calibration error with its 95 % basic bootstrap interval (Davison & Hinkley 1997, ch. 5.2).

    Resampling adds chance to every bin's gap, so the drawn values lie too high; the basic interval mirrors them at the
    estimate, which takes that off.
    """

    def error(rows: NDArray[np.int64]) -> float:
        return expected_calibration_error(reliability(confidence[rows], correct[rows], bins))

    mine = error(np.arange(len(correct)))
    low, high = np.quantile(resampled(error, len(correct), resamples, seed), [0.025, 0.975])
    return Interval(mine, float(max(0.0, 2 * mine - high)), float(max(0.0, 2 * mine - low)))


def brier(confidence: Floats, correct: NDArray[np.bool_]) -> float:
    """Mean squared distance of confidence to outcome (Brier 1950), 0 to 1."""
    return float(np.mean((confidence - correct.astype(np.float64)) ** 2))


def risk_coverage(confidence: Floats, correct: NDArray[np.bool_]) -> Curve:
    """Error rate among the most confident answers, for every coverage from 1/n to 1."""
    order = np.argsort(-confidence, kind="stable")
    counts = np.arange(1, len(order) + 1)
    return Curve(counts / len(order), np.cumsum(~correct[order]) / counts)
