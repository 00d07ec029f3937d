"""Bootstrap intervals of scores, one an example: pure functions on arrays."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean and the bounds of its confidence interval, in the unit of the scores."""

    mean: float
    low: float
    high: float


def told(mean: float, low: float, high: float, digits: int = 3) -> str:
    """A mean with its interval in brackets."""
    return f"{mean:.{digits}f} ({low:.{digits}f}–{high:.{digits}f})"


def resampled_means(values: Floats, resamples: int, seed: int) -> Floats:
    """Means of bootstrap samples of the rows (Efron & Tibshirani 1993, ch. 6).

    In: ``values`` [n] or [n, columns]; all columns of one sample are drawn from the same rows, so their differences are
    paired. Out: float64 [resamples, columns]. Draws are counted into weights, so a block of samples is one product.
    """
    table = values[:, None] if values.ndim == 1 else values
    n = len(table)
    if n == 0:
        raise ValueError("no rows to resample")
    rng = np.random.default_rng(seed)
    means = np.empty((resamples, table.shape[1]))
    block = max(1, 2_000_000 // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n), dtype=np.int32)
        drawn += (np.arange(rows, dtype=np.int32) * n)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        means[start : start + rows] = weights @ table / n
    return means


def intervals(values: Floats, resamples: int = 2000, seed: int = 0, level: float = 0.95) -> list[Interval]:
    """Mean and percentile bootstrap interval of every column of scores [n, columns]; NaN when there are no rows."""
    if len(values) == 0:
        return [Interval(float("nan"), float("nan"), float("nan"))] * values.shape[1]
    means = resampled_means(values, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    rows = zip(values.mean(axis=0), low, high, strict=True)
    return [Interval(float(mean), float(a), float(b)) for mean, a, b in rows]


def interval(values: Floats, resamples: int = 2000, seed: int = 0, level: float = 0.95) -> Interval:
    """The same for one list of scores [n]."""
    return intervals(np.asarray(values, dtype=np.float64)[:, None], resamples, seed, level)[0]


def rate(values: Floats, weights: Floats, resamples: int, seed: int) -> Interval:
    """Sum of ``values`` over sum of ``weights``, and its 95 % percentile bootstrap interval over examples.

    Examples are resampled whole, value and weight together (Efron & Tibshirani 1993, ch. 13; Koehn 2004 for comparing
    systems; Bisani & Ney 2004 for error rates). In: float64 [n] each. Draws without any weight are left out.
    """
    if np.all(weights == 1):
        means = resampled_means(values, resamples, seed)[:, 0]
    else:
        drawn = resampled_means(np.column_stack([values, weights]), resamples, seed)
        drawn = drawn[drawn[:, 1] > 0]
        means = drawn[:, 0] / drawn[:, 1]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.sum() / weights.sum()), float(low), float(high))
