"""Is one system better than another on the same examples? Paired bootstrap over examples; pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from components.common.levels import Measure, Scores
from components.common.scores import Interval, rate
from components.gate.settings import GateSettings
from serving.contract.errors import SluiceError

LEVEL = 2000
"""Resamples of a level, which is shown; differences, which decide, take the settings' number."""


def different(one: str, two: str, odd: set[str]) -> str:
    """What to say when two tables answer different examples; ``odd`` are those in one only."""
    return (
        f"predictions of {one} and {two} hold different examples ({len(odd)} are in one only, "
        f"such as {min(odd)}); evaluate both on the same examples"
    )


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
