"""The gate from files to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from components.gate import pictures
from components.gate.compare import plain
from components.gate.judge import Quality, Rivals, examine, overrule, quality_verdict
from components.gate.settings import GateSettings
from components.report.page import Page, badge, svg
from serving.errors import SluiceError
from serving.verdict import Verdict, read_verdicts, write_verdicts

LEVELS = (
    "Means with 95 % bootstrap intervals, full ranking over all passages. Test set: the sentence that gave the "
    "question is cut out of the searched text. Users' own words: hand-written questions, on the index as served."
)
FOREST = "Paired bootstrap over questions. The dotted tick is the bound: the interval must start to the right of it."
GAINS = (
    "Paired differences on the same questions with 95 % bootstrap intervals; right of zero the tuned one is better. "
    "Alone means ranked by the encoder only; as served, the ranker adds BM25 and the feature store's columns."
)
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
    """Judge a challenger; write the verdicts (JSON list: data, quantisation, quality) and the page (HTML).

    In: ``predictions`` of challenger, champion and base (predictions.parquet of "evaluate", same questions);
    ``verdicts`` of the gates before (data, quantisation). Out: passed only if every verdict passed, with the reasons
    against it otherwise. Errors: `SluiceError` for tables that cannot be compared or an empty list of verdicts;
    pydantic's for settings that are wrong, such as a person who overrules without a reason.
    """
    chosen = GateSettings(**settings)
    rivals = Rivals(**{who: pd.read_parquet(path) for who, path in predictions.items()})
    found = examine(rivals, chosen)
    earlier = [v for name, path in verdicts.items() for v in _earlier(name, path)]
    final = [overrule(v, chosen) for v in (*earlier, quality_verdict(rivals, found, chosen))]
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
    page = Page("Compare with champion", "Only a challenger that is better by more than chance goes on to users.")
    page.text(f"<p>{badge(outcome.passed, ('Goes on', 'Stopped here'))}</p>").text(_sentence(outcome.reason))
    picture, gains = pictures.levels(found.levels), pictures.gains(found.facts)
    drawn = [[svg(picture, LEVELS, "levels"), LEVELS], [svg(gains, GAINS, "gains"), GAINS]]
    page.data("headline", {"levels": found.levels, "pictures": drawn})
    page.heading("Verdicts").verdicts(verdicts)
    page.heading("Challenger and rivals").figure(picture, LEVELS).figure(gains, GAINS)
    page.heading("Differences that decide")
    page.figure(pictures.forest(found.checks, "Challenger against each rival"), FOREST)
    if found.slices:
        page.figure(pictures.forest(found.slices, "Challenger against champion, by slice"), SLICES)
    rows = [
        {
            "comparison": c.name,
            "metric": plain(c.metric),
            "questions": c.n,
            "difference": c.gap.mean,
            "low": c.gap.low,
            "high": c.gap.high,
            "bound": None if c in found.facts else c.bound,
            "passed": None if c in found.facts else c.passed,
        }
        for c in found.checks + found.slices + found.facts
    ]
    page.details("All differences in numbers", Page("").table(rows).body())
    page.heading("Floors and diversity")
    limits = found.limits.items()
    page.table([{"figure": k, "value": v, "at least": low, "passed": v >= low} for k, (v, low) in limits])
    return page


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
