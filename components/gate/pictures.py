"""The gate's pictures: a forest plot of differences, and everyone's level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from components.common.page import COLOURS, INK, MUTED, legend_below, new_figure
from components.gate.compare import Check
from components.gate.rules import Level

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
    return f"{c.name} (n = {c.n})" if c.end == "high" else f"{c.measure}: {c.against}"


def gains(facts: Sequence[Check]) -> Figure:
    """What tuning gained, on every example set."""
    return forest(facts, f"What was gained: {facts[0].measure.what}", lambda c: f"{c.name}, {c.measure.where}")


def levels(rows: Sequence[Level], top: float | None = None) -> Figure:
    """Everyone's scores with intervals, one panel an example set, one place a score; ``top`` ends the axis."""
    sets, who = (list(dict.fromkeys(str(row[key]) for row in rows)) for key in ("set", "who"))
    places = {name: list(dict.fromkeys(str(row["metric"]) for row in rows if row["set"] == name)) for name in sets}
    figure = new_figure(9, 3.7)
    ratios = [len(found) + 1 for found in places.values()]
    drawn = figure.subplots(1, len(sets), sharey=True, squeeze=False, width_ratios=ratios)[0]
    for axes, name in zip(drawn, sets, strict=True):
        for i, title in enumerate(who):
            chosen = [row for row in rows if (row["set"], row["who"]) == (name, title)]
            mean, low, high = (np.array([float(row[key]) for row in chosen]) for key in ("mean", "low", "high"))
            shift = (i - (len(who) - 1) / 2) * min(0.16, 0.8 / len(who))
            at = [places[name].index(str(row["metric"])) + shift for row in chosen]
            spread = np.stack([mean - low, high - mean]).clip(0)
            axes.errorbar(at, mean, yerr=spread, fmt="o", ms=5, capsize=0, color=COLOURS[i % len(COLOURS)], label=title)
        axes.set_xticks(range(len(places[name])), places[name])
        axes.set_ylim(0, top)
        axes.grid(axis="x", visible=False)
        axes.set_title(f"{name} (n = {max(int(row['n']) for row in rows if row['set'] == name)})")
    legend_below(figure)
    return figure
