"""The gate's pictures: a forest plot of differences, and everyone's level."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from components.evaluate.pictures import label as score_label
from components.evaluate.pictures import legend_below
from components.gate.compare import Check, plain
from components.report.page import COLOURS, INK, MUTED, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOOD, BAD = COLOURS[2], COLOURS[4]


def forest(checks: Sequence[Check], title: str, label: Callable[[Check], str] | None = None) -> Figure:
    """Differences with intervals, one line each; the dotted tick across each line is the bound it must keep."""
    label = label or _label
    figure = new_figure(9, 0.9 + 0.42 * len(checks))
    axes = figure.subplots()
    for y, c in enumerate(reversed(checks)):
        colour = GOOD if c.passed else BAD
        axes.plot([c.gap.low, c.gap.high], [y, y], color=colour, lw=2.4, solid_capstyle="butt")
        axes.plot(c.gap.mean, y, "o", color=colour, ms=6.5)
        axes.plot([c.bound, c.bound], [y - 0.28, y + 0.28], color=INK, lw=1.4, ls=":")
    axes.axvline(0, color=MUTED, lw=1)
    axes.set_yticks(range(len(checks)), [label(c) for c in reversed(checks)])
    axes.set_ylim(-0.6, len(checks) - 0.4)
    axes.set_xlabel("difference (mean, 95 % interval)")
    axes.set_title(title)
    axes.grid(axis="y", visible=False)
    return figure


def _label(c: Check) -> str:
    score = plain(c.metric).split(" on ")[0]
    return f"{c.name} (n = {c.n})" if c.end == "high" else f"{score}, {_where(c)}: {c.against}"


def gains(facts: Sequence[Check]) -> Figure:
    """What tuning gained, on both question sets."""
    score = plain(facts[0].metric).split(" on ")[0]
    return forest(facts, f"What tuning gained in {score}", lambda c: f"{c.name}, {_where(c)}")


def _where(c: Check) -> str:
    return "test" if c.metric.endswith("withheld") else "users"


def levels(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str] = ("recall@1", "recall@10", "mrr")) -> Figure:
    """Everyone's scores with intervals, test set and personas side by side."""
    figure = new_figure(9, 3.7)
    who = list(dict.fromkeys(row["who"] for row in rows))
    titles = {"test": "Test set", "persona": "Users' own words"}
    there = [name for name in titles if any(row["set"] == name for row in rows)]
    for axes, name in zip(figure.subplots(1, len(there), sharey=True, squeeze=False)[0], there, strict=True):
        for i, title in enumerate(who):
            found = {row["metric"]: row for row in rows if row["set"] == name and row["who"] == title}
            mean = np.array([found[m]["mean"] for m in metrics])
            spread = np.array(
                [[found[m]["mean"] - found[m]["low"], found[m]["high"] - found[m]["mean"]] for m in metrics]
            )
            at = np.arange(len(metrics)) + (i - (len(who) - 1) / 2) * 0.16
            axes.errorbar(at, mean, yerr=spread.T, fmt="o", ms=5, capsize=0, color=COLOURS[i], label=title)
        axes.set_xticks(range(len(metrics)), [score_label(m) for m in metrics])
        axes.set_ylim(0, 1.04)
        axes.grid(axis="x", visible=False)
        axes.set_title(f"{titles[name]} (n = {next(iter(found.values()))['n']})")
    legend_below(figure)
    return figure
