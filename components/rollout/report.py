"""The rollout as one page: how it ended, every verdict, stable against canary in pictures, the timeline of steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.common.page import COLOURS, Page, new_figure
from components.rollout.run import RolloutOutcome
from components.rollout.watcher import Event, RolloutWatcher
from components.rollout.window import CANARY, SPLIT, STABLE, LoadWindow, of_revision
from load_tests.slo import SLO, answered, figures

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def write_report(
    path: Path, system: str, version: str, outcome: RolloutOutcome, watch: RolloutWatcher, slo: SLO
) -> None:
    """Write the page to ``path`` (self-contained HTML)."""
    page = Page(f"Rollout of {system}, version {version}", outcome.reason)
    worst = max((v.figures.get("p95_ms_at_100_percent", 0) for v in outcome.verdicts), default=0)
    tiles: list[tuple[str, object, str]] = [
        ("Ended", "promoted" if outcome.promoted else "not promoted", "100 %" if outcome.promoted else "see below"),
        ("Windows of load", len(outcome.windows), f"{sum(len(w.samples) for w in outcome.windows)} requests"),
    ]
    if watch.events:
        tiles.append(("Took", f"{watch.events[-1].at - watch.events[0].at:.1f} s", "first event to last"))
    if watch.opened_at and watch.withdrawn_at:
        tiles.append(("Withdrawn after", f"{watch.withdrawn_at - watch.opened_at:.1f} s", "of its first traffic"))
    if worst:
        tiles.append(("p95 at 100 %", f"{worst} ms", f"SLO {slo.p95_ms:g} ms"))
    page.tiles(tiles)
    if watch.events:
        page.heading("Timeline").figure(draw_timeline(watch.events), "Share of users' traffic that the release had")
        began = watch.events[0].at
        page.table([{"s": round(e.at - began, 1), "%": e.percent, "what happened": e.text} for e in watch.events])
    for window in outcome.windows:
        page.heading(window.name)
        page.figure(draw_window(window, slo), f"{window.name}: latency of the answers, and errors, by revision")
        page.table(table(window)).verdicts(window.verdicts)
    if outcome.others:
        page.heading("How it ended").verdicts(outcome.others)
    page.write(path)


def sides(window: LoadWindow) -> dict[str, "pd.DataFrame"]:
    """The samples of stable and canary, those that have any."""
    names = {STABLE: window.stable, CANARY: window.canary}
    found = {n: of_revision(window.samples, revision, n) for n, revision in names.items() if revision}
    return {n: rows for n, rows in found.items() if len(rows)}


def table(window: LoadWindow) -> list[dict[str, Any]]:
    """One row for each side and one for what users saw through the split."""
    rows = [{"who": f"{n}", **figures(samples)} for n, samples in sides(window).items()]
    split = window.samples[window.samples["target"] == SPLIT]
    return [*rows, {"who": "through the split", **figures(split)}]


def draw_window(window: LoadWindow, slo: SLO) -> "Figure":
    """Left: cumulative share of answers by latency (ms), with the SLO's p95. Right: share of errors (percent)."""
    figure = new_figure(8.0, 3.2)
    left, right = figure.subplots(1, 2, width_ratios=(3, 1))
    named = sides(window)
    for (name, rows), colour in zip(named.items(), COLOURS, strict=False):
        good = rows.loc[answered(rows), "latency_ms"]
        if len(good):
            left.ecdf(good, label=f"{name} ({len(rows)})", color=colour)
    left.axvline(slo.p95_ms, color=COLOURS[4], linestyle="--", linewidth=1)
    left.axhline(0.95, color=COLOURS[5], linestyle=":", linewidth=1)
    left.set(xlabel=f"latency, ms (dashed: SLO, {slo.p95_ms:g})", ylabel="share of answers", xscale="log")
    if left.get_legend_handles_labels()[0]:
        left.legend()
    shares = [100 * float((~answered(rows)).mean()) for rows in named.values()]
    right.bar(list(named), shares, color=COLOURS[: len(named)])
    right.axhline(100 * slo.error_rate, color=COLOURS[4], linestyle="--", linewidth=1)
    right.set(ylabel="errors, %", ylim=(0, max([*shares, 100 * slo.error_rate]) * 1.3 + 0.1))
    return figure


def draw_timeline(events: Sequence[Event]) -> "Figure":
    """Percent of the traffic over seconds."""
    figure = new_figure(8.0, 2.2)
    axes = figure.subplots()
    began = events[0].at
    seconds, percent = [e.at - began for e in events], [e.percent for e in events]
    axes.step(seconds, percent, where="post", color=COLOURS[0])
    axes.fill_between(seconds, percent, step="post", alpha=0.25, color=COLOURS[0])
    axes.set(xlabel="s", ylabel="%", ylim=(0, 105), xlim=(0, max(seconds[-1], 0.1)))
    return figure
