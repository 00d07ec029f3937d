"""Does a retriever's confidence know right from wrong, on questions in users' words that nothing was fitted on?"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.common.levels import Entry, Measure, Subset, Tile
from components.common.scores import Floats, Interval
from components.gate.compare import LEVEL, Check
from components.gate.rules import Predictions
from components.gate.settings import GateSettings
from components.tasks.retrieval.evaluating.calibration import auroc, bins_for, ece_interval, resampled

PERSONA = Subset("set", "persona")
WHERE = "users' held-out questions"
_MOST_BINS = 10
_LEAST_OF_A_KIND = 10  # right and wrong first sources: an AUROC of fewer says nothing


class Told(NamedTuple):
    """One model's confidences [n], whether each first source is right [n], and where it abstained [n]; by question."""

    confidence: Floats
    correct: NDArray[np.bool_]
    abstained: NDArray[np.bool_]

    @classmethod
    def of(cls, served: pd.DataFrame) -> Told:
        """From the served rows of predictions, in the order of the question ids."""
        columns = served.sort_values("question_id")
        return cls(
            columns["confidence"].to_numpy(np.float64),
            columns["rank"].to_numpy() == 1,
            columns["abstained"].to_numpy(bool),
        )

    def abstains(self, rows: NDArray[np.int64]) -> float:
        """Share of wrong answers abstained from, less twice the share of right ones; NaN without either."""
        correct, abstained = self.correct[rows], self.abstained[rows]
        if correct.all() or not correct.any():
            return float("nan")
        return float(abstained[~correct].mean() - 2 * abstained[correct].mean())


def _told(read: Predictions) -> tuple[Told, Told] | None:
    """The challenger's and the champion's on the persona questions; None where the source has none."""
    if not read.has(PERSONA):
        return None
    mine, theirs = (Told.of(read.rows(Entry(who), PERSONA).reset_index()) for who in ("challenger", "champion"))
    return mine, theirs


def _enough(told: Told, least: int) -> bool:
    """Whether there is enough to judge: ``least`` questions, and some of either kind."""
    kinds = int(told.correct.sum()), int((~told.correct).sum())
    return len(told.correct) >= least and min(kinds) >= _LEAST_OF_A_KIND


def checks(read: Predictions, least: int, limit: float, settings: GateSettings) -> list[Check]:
    """What decides on the challenger's confidence beside the champion's, on the same persona questions.

    AUROC: its interval starts above chance, and the paired difference does not end below the champion's less the
    tolerance. ECE: its interval does not start above ``limit``. Abstaining: wrong first sources at twice the rate of
    right ones, less the tolerance, at least not surely less. No checks on fewer than ``least`` questions, or with too
    few right or wrong ones.
    """
    told = _told(read)
    if not told or not _enough(told[0], least):
        return []
    mine, theirs = told
    n = len(mine.correct)
    area = Measure("confidence_auroc_persona_held_out", "AUROC of confidence", WHERE)

    def chance(rows: NDArray[np.int64]) -> float:
        return auroc(mine.confidence[rows], mine.correct[rows]) - 0.5

    def gain(rows: NDArray[np.int64]) -> float:
        return chance(rows) + 0.5 - auroc(theirs.confidence[rows], theirs.correct[rows])

    error = ece_interval(mine.confidence, mine.correct, bins_for(n, _MOST_BINS), LEVEL, settings.seed)
    room = Interval(limit - error.mean, limit - error.high, limit - error.low)
    measures = {
        "ece": Measure("ece_persona_held_out", "room below the highest calibration error", WHERE),
        "abstained": Measure(
            "abstained_persona_held_out", "share of wrong answers abstained from, less twice that of right ones,", WHERE
        ),
    }
    found = [
        _check(area, "chance", chance, n, "low", 0.0, settings),
        _check(measures["abstained"], "none", mine.abstains, n, "high", -settings.tolerance, settings),
        Check(f"{measures['ece'].name} vs {limit:g}", f"{limit:g}", measures["ece"], n, room, "high", 0.0),
    ]
    if _enough(theirs, 0):
        found.append(_check(area, "the champion", gain, n, "high", -settings.tolerance, settings))
    return found


def tiles(read: Predictions, least: int) -> list[Tile]:
    """How far confidence can be trusted, for the release report; [] where no persona asks."""
    told = _told(read)
    if not told:
        return []
    mine = told[0]
    label, n = "AUROC of confidence, users' own words", len(mine.correct)
    if not _enough(mine, least):
        note = f"n = {n}; {least} are needed, {_LEAST_OF_A_KIND} right and wrong among them"
        return [(label, "too few to judge", note)]
    wrong, right = (float(mine.abstained[rows].mean()) for rows in (~mine.correct, mine.correct))
    note = f"abstains from {wrong:.0%} of wrong, {right:.0%} of right ones, n = {n}"
    return [(label, f"{auroc(mine.confidence, mine.correct):.3f}", note)]


def _check(
    measure: Measure,
    against: str,
    figure: Callable[[NDArray[np.int64]], float],
    n: int,
    end: str,
    bound: float,
    settings: GateSettings,
) -> Check:
    low, high = np.quantile(resampled(figure, n, LEVEL, settings.seed), [0.025, 0.975])
    gap = Interval(figure(np.arange(n)), float(low), float(high))
    return Check(f"{measure.name} vs {against}", against, measure, n, gap, end, bound)
