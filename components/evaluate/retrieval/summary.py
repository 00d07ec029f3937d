"""From predictions to figures: scores with intervals by set and slice, and how good the confidence is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from components.evaluate.retrieval.calibration import (
    Bin,
    Curve,
    brier,
    expected_calibration_error,
    reliability,
    risk_coverage,
)
from components.evaluate.retrieval.measure import PROTOCOL, RETRIEVERS
from components.evaluate.retrieval.ranks import METRICS, per_question
from components.evaluate.scores import intervals


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
    for name, table in predictions.groupby("set"):
        yield str(name), "all", "all", table
        for by in ("category", "persona"):
            for part, some in table.groupby(by):
                if part:
                    yield str(name), by, str(part), some


class Confidence:
    """How far the served confidence can be trusted on one question set: bins, calibration error, Brier score, curve."""

    def __init__(self, predictions: pd.DataFrame, name: str, bins: int) -> None:
        served = predictions[(predictions["set"] == name) & (predictions["retriever"] == "served")]
        confidence = served["confidence"].to_numpy(np.float64)
        correct = served["correct"].to_numpy(bool)
        answered = ~served["abstained"].to_numpy(bool)
        self.bins: list[Bin] = reliability(confidence, correct, bins)
        self.ece = expected_calibration_error(self.bins)
        self.brier = brier(confidence, correct)
        self.curve: Curve = risk_coverage(confidence, correct)
        self.coverage = float(answered.mean())
        self.risk_answered = float((~correct[answered]).mean()) if answered.any() else 0.0
        self.risk_abstained = float((~correct[~answered]).mean()) if (~answered).any() else float("nan")


def figures(summary: pd.DataFrame, confidence: dict[str, Confidence]) -> dict[str, float]:
    """Flat named figures: ``mrr_full_withheld`` is the served ranking's, others carry the retriever as a prefix."""
    whole = summary[summary["by"] == "all"]
    named: dict[str, float] = {}
    for row in whole.to_dict("records"):
        prefix = "" if row["retriever"] == "served" else f"{row['retriever']}_"
        named[f"{prefix}{row['metric']}_full_{PROTOCOL[row['set']]}"] = float(row["mean"])
    for name, found in confidence.items():
        end = PROTOCOL[name]
        named |= {f"ece_{end}": found.ece, f"brier_{end}": found.brier, f"aurc_{end}": found.curve.area}
        named |= {f"coverage_{end}": found.coverage, f"risk_answered_{end}": found.risk_answered}
    return named
