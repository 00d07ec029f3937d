"""The gate from files to files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from components.common.levels import picture
from components.common.page import COLOURS, INK, MUTED, Page, badge, new_figure, svg
from components.gate.compare import Check
from components.gate.judge import Quality, examine, overrule, quality_verdict
from components.gate.rules import Rivals
from components.tasks import find
from serving.contract.errors import SluiceError
from serving.contract.verdict import Verdict, read_verdicts, write_verdicts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GOOD, BAD = COLOURS[2], COLOURS[4]
FOREST = "Paired bootstrap over examples. The dotted tick is the bound: the interval must start to the right of it."
SLICES = "No slice may fall significantly: the interval must reach past the dotted tick."


class Outcome(NamedTuple):
    """What the pipeline branches on."""

    passed: bool
    reason: str


def judge_files(
    predictions: Mapping[str, Path],
    verdicts: Mapping[str, Path],
    settings: Mapping[str, Any],
    verdict: Path,
    page: Path,
) -> Outcome:
    """Judge a challenger by its task's rules; write the verdicts (JSON list: data, quantisation, quality) and the page.

    In: ``predictions`` of challenger, champion and base (predictions.parquet of "evaluate", same examples, whose column
    ``task`` says which rules of components/tasks/ apply); ``verdicts`` of the gates before (data, quantisation). Out:
    passed only if every verdict passed, with the reasons against it otherwise. Errors: `SluiceError` for tables that
    cannot be compared or an empty list of verdicts; pydantic's for settings that are wrong, such as a person who
    overrules without a reason.
    """
    rivals = Rivals(**{who: pd.read_parquet(path) for who, path in predictions.items()})
    own = find(rivals.task()).gating().GATE
    chosen = own.settings(**settings)
    found = examine(own, rivals, chosen)
    earlier = [v for name, path in verdicts.items() for v in _earlier(name, path)]
    final = [overrule(v, chosen) for v in (*earlier, quality_verdict(found, chosen))]
    against = [f"{v.gate}: {v.reason}" for v in final if not v.passed]
    passed = not against
    outcome = Outcome(passed, final[-1].reason if passed else "; ".join(against))
    _page(found, final, outcome).write(page)
    write_verdicts(final, verdict)
    return outcome


def _earlier(name: str, path: Path) -> list[Verdict]:
    found = read_verdicts(path)
    if not found:
        raise SluiceError(f"{path}: the {name} gate left no verdict; run its step again")
    return found


def _page(found: Quality, verdicts: list[Verdict], outcome: Outcome) -> Page:
    words = found.captions
    page = Page("Compare with champion", "Only a challenger that is better by more than chance goes on to users.")
    page.text(f"<p>{badge(outcome.passed, ('Goes on', 'Stopped here'))}</p>").text(_sentence(outcome.reason))
    drawn = [(picture(found.levels, top=words.top), words.levels)]
    if found.facts:
        drawn.append((_gains(found.facts), words.facts))
    carried = [[svg(figure, caption, f"picture{at}"), caption] for at, (figure, caption) in enumerate(drawn)]
    page.data("headline", {"levels": found.levels, "pictures": carried, "tiles": found.tiles, "unit": words.unit})
    page.heading("Verdicts").verdicts(verdicts)
    page.heading("Challenger and rivals")
    for figure, caption in drawn:
        page.figure(figure, caption)
    page.heading("Differences that decide")
    page.figure(_forest(found.checks, "Challenger against each rival"), FOREST)
    if found.slices:
        page.figure(_forest(found.slices, "Challenger against champion, by slice"), SLICES)
    page.details("All differences in numbers", Page("").table(_rows(found)).body())
    page.heading("Floors and diversity")
    limits = found.limits.items()
    page.table([{"figure": k, "value": v, "at least": low, "passed": v >= low} for k, (v, low) in limits])
    return page


def _rows(found: Quality) -> list[dict[str, object]]:
    return [
        {
            "comparison": c.name,
            "score": str(c.measure),
            found.captions.unit: c.n,
            "difference": c.gap.mean,
            "low": c.gap.low,
            "high": c.gap.high,
            "bound": None if c in found.facts else c.bound,
            "passed": None if c in found.facts else c.passed,
        }
        for c in found.checks + found.slices + found.facts
    ]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _forest(checks: Sequence[Check], title: str, label: Callable[[Check], str] | None = None) -> Figure:
    """Differences with intervals, one line each; the dotted tick across each line is the bound it must keep."""
    label = label or _called
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


def _called(c: Check) -> str:
    return f"{c.name} (n = {c.n})" if c.end == "high" else f"{c.measure}: {c.against}"


def _gains(facts: Sequence[Check]) -> Figure:
    """What tuning gained, on every example set."""
    return _forest(facts, f"What was gained: {facts[0].measure.what}", lambda c: f"{c.name}, {c.measure.where}")
