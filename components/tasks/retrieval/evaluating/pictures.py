"""The evaluation's pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from components.common.page import COLOURS, MUTED, legend_below, new_figure
from components.tasks.retrieval.evaluating.measure import RETRIEVERS
from components.tasks.retrieval.evaluating.ranks import METRICS, label
from components.tasks.retrieval.evaluating.summary import Confidence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {"served": "served (fused)", "dense": "dense alone", "bm25": "BM25 alone"}
SETS = {"test": "Test set, own sentence withheld", "persona": "Persona set, on the served index"}


def scores(summary: pd.DataFrame) -> Figure:
    """Every metric of the three retrievers on both sets, with intervals."""
    figure = new_figure(9, 3.7)
    there = [name for name in SETS if name in set(summary["set"])]
    for axes, name in zip(figure.subplots(1, len(there), sharey=True, squeeze=False)[0], there, strict=True):
        whole = summary[(summary["set"] == name) & (summary["by"] == "all")]
        _dots(axes, whole, "metric", list(METRICS))
        axes.set_title(SETS[name])
        axes.set_ylim(0, 1.04)
        axes.set_xticks(range(len(METRICS)), [label(m) for m in METRICS])
    legend_below(figure)
    return figure


def slices(summary: pd.DataFrame) -> Figure:
    """Reciprocal rank by category and by persona, with intervals."""
    parts = [("test", "category", "By category (test)"), ("persona", "persona", "By persona")]
    parts = [part for part in parts if part[0] in set(summary["set"])]
    figure = new_figure(9, 3.6)
    ratios = [max(1, summary[(summary["set"] == s) & (summary["by"] == b)]["slice"].nunique()) for s, b, _ in parts]
    drawn = figure.subplots(1, len(parts), sharey=True, width_ratios=ratios, squeeze=False)[0]
    for axes, (name, by, title) in zip(drawn, parts, strict=True):
        chosen = summary[(summary["set"] == name) & (summary["by"] == by) & (summary["metric"] == "mrr")]
        _dots(axes, chosen, "slice", sorted(chosen["slice"].unique()))
        counts = chosen.groupby("slice")["n"].first()
        axes.set_xticks(range(len(counts)), [f"{s}\nn = {n}" for s, n in counts.items()])
        axes.set_title(title)
    drawn[0].set_ylabel("mean reciprocal rank")
    drawn[0].set_ylim(0, 1.04)
    legend_below(figure)
    return figure


def _dots(axes: Axes, rows: pd.DataFrame, column: str, order: list[str]) -> None:
    for i, retriever in enumerate(RETRIEVERS):
        table = rows[rows["retriever"] == retriever].set_index(column).reindex(order)
        mean = table["mean"].to_numpy(float)
        spread = np.abs(np.stack([mean - table["low"], table["high"] - mean]))
        at = np.arange(len(order)) + (i - 1) * 0.22
        axes.errorbar(at, mean, yerr=spread, fmt="o", ms=5, capsize=0, color=COLOURS[i], label=NAMES[retriever])
    axes.set_xticks(range(len(order)), order)
    axes.grid(axis="x", visible=False)


def trust(confidence: dict[str, Confidence]) -> Figure:
    """Reliability on the left, risk over coverage with the chosen threshold on the right."""
    figure = new_figure(9, 4.1)
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color=MUTED, lw=1, ls="--", label="perfect")
    for i, (name, found) in enumerate(confidence.items()):
        colour = COLOURS[i]
        x, y, n = zip(*found.bins, strict=True)
        left.plot(x, y, "o-", ms=4, color=colour, label=f"{name}, ECE {found.ece.mean:.3f} ({n[0]} a bin)")
        right.plot(found.curve.coverage, found.curve.risk, color=colour, label=f"{name}, area {found.curve.area:.3f}")
        right.plot(found.coverage, found.risk_answered, "o", color=colour, ms=7)
    left.set(title="Is confidence right?", xlabel="confidence", ylabel="share of first passages right", ylim=(0, 1.02))
    right.set(title="What abstaining buys", xlabel="share of questions answered", ylabel="share of answers wrong")
    right.set_ylim(bottom=0)
    for axes in (left, right):
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def modes(rows: list[dict[str, object]]) -> Figure:
    """How many misses each failure mode explains."""
    figure = new_figure(9, 0.7 + 0.32 * len(rows))
    axes = figure.subplots()
    names = [str(row["mode"]) for row in rows][::-1]
    counts = [int(row["misses"]) for row in rows][::-1]  # type: ignore[call-overload]
    axes.barh(names, counts, color=COLOURS[0], height=0.62)
    for i, count in enumerate(counts):
        axes.text(count, i, f" {count}", va="center")
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("questions whose first passage is wrong")
    return figure
