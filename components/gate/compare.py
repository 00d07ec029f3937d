"""Is one system better than another on the same examples? Paired bootstrap over examples; pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.common.scores import Floats, Interval, rate
from components.gate.settings import GateSettings
from serving.contract.errors import SluiceError

LEVEL = 2000
"""Resamples of a level, which is shown; differences, which decide, take the settings' number."""


@dataclass(frozen=True)
class Scores:
    """One system's scores, one an example, greater is better: ``ids`` sorted [n], ``values`` and ``weights`` [n].

    The system's score is the sum of the values over the sum of the weights: the mean where every weight is 1, and a
    rate, such as errors over words, where they are sizes. Weights belong to the examples: all systems share them.
    """

    ids: pd.Index[str]
    values: Floats
    weights: Floats

    @classmethod
    def of(cls, values: pd.Series[float], weights: pd.Series[float] | None = None) -> Scores:
        """From series indexed by example id. Errors: `SluiceError` for an example that is there twice, or for none."""
        if values.empty:
            raise SluiceError("predictions: no rows to compare; evaluate the bundle again")
        if values.index.has_duplicates:
            twice = values.index[values.index.duplicated()][0]
            raise SluiceError(f"predictions: example {twice} is there twice; evaluate the bundle again")
        found = values.sort_index()
        sizes = np.ones(len(found)) if weights is None else weights.reindex(found.index)
        return cls(found.index, np.asarray(found, np.float64), np.asarray(sizes, np.float64))

    def part(self, rows: np.ndarray) -> Scores:
        """The examples where ``rows`` (bool [n]) is true."""
        return Scores(self.ids[rows], self.values[rows], self.weights[rows])

    def with_values(self, values: Floats) -> Scores:
        """The same examples, scored otherwise."""
        return Scores(self.ids, values, self.weights)


@dataclass(frozen=True)
class Measure:
    """A score's name with its protocol, and its words for people: "MRR" on "the test set"."""

    name: str
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what} on {self.where}"


class Subset(NamedTuple):
    """The rows whose ``column`` is ``value``, or (``inside`` false) all but those."""

    column: str
    value: str
    inside: bool = True

    def of(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Which rows of ``table`` it takes."""
        found: pd.Series[bool] = table[self.column] == self.value
        return found if self.inside else ~found


@dataclass(frozen=True)
class Metric(Measure):
    """A measure that is read out of predictions, one value an example.

    ``column`` holds it, or what ``score`` (an array to an array) makes it of; times ``scale``. ``lower``: less of it is
    better, as of errors. ``weights``: the column of the examples' sizes, where it is a rate. ``only``: the rows that it
    is of, where not of all.
    """

    column: str
    score: Callable[[NDArray[Any]], Floats] | None = None
    scale: float = 1.0
    lower: bool = False
    weights: str = ""
    only: Subset | None = None

    def of(self, rows: pd.DataFrame) -> Scores:
        """Scores, greater is better, of rows indexed by example; errors as of `Scores.of`."""
        values = rows[self.column] if self.score is None else self.score(rows[self.column].to_numpy())
        sizes = rows[self.weights].astype("float64") if self.weights else None
        scale = -self.scale if self.lower else self.scale
        return Scores.of(scale * pd.Series(values, index=rows.index), sizes)


def different(one: str, two: str, odd: set[str]) -> str:
    """What to say when two tables answer different examples; ``odd`` are those in one only."""
    return (
        f"predictions of {one} and {two} hold different examples ({len(odd)} are in one only, "
        f"such as {min(odd)}); evaluate both on the same examples"
    )


def level(scores: Scores, settings: GateSettings, lower: bool = False) -> Interval:
    """One system's score with its interval; of scores that less is better of (``lower``), as they were measured."""
    mean, low, high = rate(scores.values, scores.weights, LEVEL, settings.seed)
    return Interval(0.0 - mean, 0.0 - high, 0.0 - low) if lower else Interval(mean, low, high)


def difference(better: Scores, worse: Scores, settings: GateSettings) -> Interval:
    """The paired difference of two systems' scores on the same examples, positive where ``better`` is."""
    return rate(better.values - worse.values, better.weights, settings.resamples, settings.seed)


@dataclass(frozen=True)
class Check:
    """One comparison of the challenger: with whom, on what, the difference, and the bound it had to keep.

    ``bound`` is the lowest allowed value of ``end`` ("low" or "high") of the interval, exclusive.
    """

    name: str
    against: str
    measure: Measure
    n: int
    gap: Interval
    end: str
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the interval keeps the bound."""
        return (self.gap.low if self.end == "low" else self.gap.high) > self.bound

    def sentence(self) -> str:
        """The comparison in words, with its interval and, where it failed, the bound that it missed."""
        gap = self.gap
        text = f"{self.measure} {gap.mean:+.3f} against {self.against} (95 % {gap.low:+.3f} to {gap.high:+.3f}"
        need = f"has to {'end' if self.end == 'high' else 'start'} above {self.bound:+.3f}"
        return f"{text}, n = {self.n})" if self.passed else f"{text}, {need}; n = {self.n})"


def check(
    mine: Scores,
    theirs: Scores,
    measure: Measure,
    against: str,
    bound: float,
    settings: GateSettings,
    end: str = "low",
    name: str = "",
) -> Check:
    """Compare the challenger's scores with another's by paired bootstrap.

    ``end`` "low": the interval must start above ``bound`` (better; with a negative bound, surely not worse by more).
    ``end`` "high": it must end above it (not worse beyond doubt), which is fair to small slices. ``name``: what the
    check is called in figures and pictures. Errors: `SluiceError` unless both hold the very same examples.
    """
    if not mine.ids.equals(theirs.ids):
        raise SluiceError(different("the challenger", against, set(mine.ids.symmetric_difference(theirs.ids))))
    gap = difference(mine, theirs, settings)
    return Check(name or f"{measure.name} vs {against}", against, measure, len(mine.ids), gap, end, bound)


def slices(
    mine: Scores, theirs: Scores, groups: pd.Series[str], by: str, measure: Measure, settings: GateSettings
) -> list[Check]:
    """One check against the champion for every value of ``groups`` (by example id) that ``min_slice`` examples have.

    A slice may not fall beyond doubt: the interval's upper end stays above minus ``slice_tolerance``.
    """
    of = groups.reindex(mine.ids).to_numpy()
    found = []
    for value in sorted({str(v) for v in of if v}):
        rows = of == value
        if rows.sum() >= settings.min_slice:
            a, b, bound = mine.part(rows), theirs.part(rows), -settings.slice_tolerance
            found.append(check(a, b, measure, "the champion", bound, settings, "high", f"{by} {value}"))
    return found
