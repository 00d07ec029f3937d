"""From predictions to figures: scores with intervals by set and slice, and how good the confidence is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

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
from components.tasks.retrieval.evaluating.ranks import METRICS, per_question

ENDS = {"test": "withheld", "persona": "persona_held_out"}
"""How the names of confidence's figures end: none of it was fitted on the questions that they are of."""


def summarise(predictions: pd.DataFrame, resamples: int, seed: int) -> pd.DataFrame:
    """Scores by set and slice.

    Out: one row a (set, by, slice, retriever, metric) with n, mean, low and high (95 % percentile bootstrap); ``by`` is
    all, category or persona.
    """
    rows = []
    for name, by, part, table in _slices(predictions):
        ranks = table.pivot(index="question_id", columns="retriever", values="rank")
        columns = [(r, m) for r in RETRIEVERS for m in METRICS]
        values = np.column_stack([per_question(ranks[r].to_numpy(), m) for r, m in columns])
        for (retriever, metric), (mean, low, high) in zip(columns, intervals(values, resamples, seed), strict=True):
            key = {"set": name, "by": by, "slice": part, "retriever": retriever, "metric": metric}
            rows.append({**key, "n": len(ranks), "mean": mean, "low": low, "high": high})
    return pd.DataFrame(rows)


def _slices(predictions: pd.DataFrame) -> Iterator[tuple[str, str, str, pd.DataFrame]]:
    for name, table in predictions[predictions["set"] != NOWHERE].groupby("set"):
        yield str(name), "all", "all", table
        for by in ("category", "persona"):
            for part, some in table.groupby(by):
                if part:
                    yield str(name), by, str(part), some


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


def figures(
    summary: pd.DataFrame, confidence: dict[str, Confidence], answered: dict[str, Interval]
) -> dict[str, float]:
    """Flat named figures: ``mrr_full_withheld`` is the served ranking's, others carry the retriever as a prefix."""
    whole = summary[summary["by"] == "all"]
    named: dict[str, float] = {}
    for row in whole.to_dict("records"):
        prefix = "" if row["retriever"] == "served" else f"{row['retriever']}_"
        named[f"{prefix}{row['metric']}_full_{PROTOCOL[row['set']]}"] = float(row["mean"])
    for name, found in confidence.items():
        named |= found.figures(ENDS[name])
    return named | {name: interval.mean for name, interval in answered.items()}
