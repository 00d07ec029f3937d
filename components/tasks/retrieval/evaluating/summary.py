"""From predictions to figures: scores with intervals by set and slice, and how good the confidence is."""

from __future__ import annotations

import numpy as np
import pandas as pd

from components.common.levels import SERVED, Entry, Level, Panel, Tables
from components.common.scores import Interval, intervals
from components.tasks.retrieval.evaluating import answers
from components.tasks.retrieval.evaluating.calibration import (
    Bin,
    Curve,
    auroc_interval,
    bins_for,
    brier,
    ece_interval,
    reliability,
    risk_coverage,
)
from components.tasks.retrieval.evaluating.measure import NOWHERE, PROTOCOL, RETRIEVERS
from components.tasks.retrieval.evaluating.ranks import METRICS, metric_of

ENDS = {"test": "withheld", "persona": "persona_held_out"}
"""How the names of confidence's figures end: none of it was fitted on the questions that they are of."""


def levels(predictions: pd.DataFrame, resamples: int, seed: int) -> tuple[list[Level], list[Level]]:
    """Every score of every retriever on both sets, and the reciprocal ranks by category and by persona."""
    read = Tables("question_id", {SERVED.who: predictions}, "retriever")
    who = {retriever: Entry(system=retriever) for retriever in RETRIEVERS}
    whole = [
        Panel(name, who, {m: metric_of(f"{m}_full_{protocol}") for m in METRICS}) for name, protocol in PROTOCOL.items()
    ]
    parts = [
        Panel("By category (test)", who, by=(metric_of("mrr_full_withheld"), "category")),
        Panel("By persona", who, by=(metric_of("mrr_full_persona"), "persona")),
    ]
    found = ([row for panel in panels for row in read.levels(panel, resamples, seed)] for panels in (whole, parts))
    scores, slices = found
    return scores, slices


class Confidence:
    """How far the served confidence can be trusted on one question set.

    Bins, calibration error and AUROC (right against wrong first sources) with intervals, Brier score, curve, and how
    often it abstains where its first source is right, is wrong, or where nothing answers (NaN without such questions).
    """

    def __init__(self, predictions: pd.DataFrame, name: str, bins: int, resamples: int = 2000, seed: int = 0) -> None:
        all_served = predictions[predictions["retriever"] == "served"]
        served = all_served[all_served["set"] == name]
        confidence = served["confidence"].to_numpy(np.float64)
        correct = served["correct"].to_numpy(bool)
        answered = ~served["abstained"].to_numpy(bool)
        count = bins_for(len(served), bins)
        self.bins: list[Bin] = reliability(confidence, correct, count)
        self.ece: Interval = ece_interval(confidence, correct, count, resamples, seed)
        self.auroc: Interval = auroc_interval(confidence, correct, resamples, seed)
        self.brier = brier(confidence, correct)
        self.curve: Curve = risk_coverage(confidence, correct)
        self.coverage = float(answered.mean())
        self.risk_answered = _share(~correct[answered], 0.0)
        self.risk_abstained = _share(~correct[~answered])
        self.abstained_right, self.abstained_wrong = _share(~answered[correct]), _share(~answered[~correct])
        nowhere = all_served["set"] == (NOWHERE if name == "persona" else "")
        self.abstained_nowhere = _share(all_served.loc[nowhere, "abstained"].to_numpy(bool))

    def figures(self, end: str) -> dict[str, float]:
        """Flat named figures that end in ``end``; what there is nothing to measure on is left out."""
        found = {
            "confidence_auroc": self.auroc.mean,
            "confidence_auroc_low": self.auroc.low,
            "confidence_auroc_high": self.auroc.high,
            "ece": self.ece.mean,
            "ece_low": self.ece.low,
            "ece_high": self.ece.high,
            "brier": self.brier,
            "aurc": self.curve.area,
            "coverage": self.coverage,
            "risk_answered": self.risk_answered,
            "abstained_right": self.abstained_right,
            "abstained_wrong": self.abstained_wrong,
            "abstained_unanswerable": self.abstained_nowhere,
        }
        return {f"{name}_{end}": value for name, value in found.items() if np.isfinite(value)}


def _share(flags: np.ndarray, otherwise: float = float("nan")) -> float:
    return float(flags.mean()) if len(flags) else otherwise


def summarise_answers(
    predictions: pd.DataFrame, questions: pd.DataFrame, passages: pd.DataFrame, resamples: int, seed: int
) -> dict[str, Interval]:
    """The extracted answers' scores by name and protocol, such as ``answer_f1_persona_held_out``, with intervals.

    Rule-made test questions are answered from the served index, where their sentence stands: ``answer_f1_test_served``.
    """
    ends = {"test": "test_served", "persona": "persona_held_out"}
    found: dict[str, Interval] = {}
    for name, table in answers.scores(predictions, questions, passages).items():
        rows = zip(answers.METRICS, intervals(table, resamples, seed), strict=True)
        found |= {f"{metric}_{ends[name]}": interval for metric, interval in rows}
    return found


def figures(scores: list[Level], confidence: dict[str, Confidence], answered: dict[str, Interval]) -> dict[str, float]:
    """Flat named figures: ``mrr_full_withheld`` is the served ranking's, others carry the retriever as a prefix."""
    named: dict[str, float] = {}
    for row in sorted(scores, key=lambda row: str(row["set"])):
        prefix = "" if row["who"] == "served" else f"{row['who']}_"
        named[f"{prefix}{row['metric']}_full_{PROTOCOL[row['set']]}"] = row["mean"]
    for name, found in confidence.items():
        named |= found.figures(ENDS[name])
    return named | {name: interval.mean for name, interval in answered.items()}
