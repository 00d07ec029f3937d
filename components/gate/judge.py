"""The quality gate, whatever the task: what a task's comparisons are made of, and the verdicts that follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from components.common.scores import Interval
from components.gate.compare import Check, different
from components.gate.settings import GateSettings
from serving.contract.errors import SluiceError
from serving.contract.verdict import Verdict

RIVALS = ("challenger", "champion", "base")
Level = dict[str, float | int | str]


@dataclass(frozen=True)
class Rivals:
    """The three prediction tables of one decision."""

    challenger: pd.DataFrame
    champion: pd.DataFrame
    base: pd.DataFrame

    def of(self, who: str) -> pd.DataFrame:
        """The table of "challenger", "champion" or "base"."""
        found: pd.DataFrame = getattr(self, who)
        return found

    def task(self) -> str:
        """The task all three were evaluated for. Errors: `SluiceError` if they do not say, or differ."""
        tasks = {
            who: str(t["task"].iloc[0]) if "task" in t and len(t) else "none" for who in RIVALS for t in [self.of(who)]
        }
        if len(set(tasks.values())) != 1 or "none" in tasks.values():
            told = ", ".join(f"{who}: {task}" for who, task in tasks.items())
            raise SluiceError(f"predictions: the rivals are of different tasks ({told}); evaluate all three again")
        return tasks["challenger"]

    def require(self, columns: tuple[str, ...]) -> None:
        """Raise `SluiceError` naming the first column that a table lacks."""
        for who in RIVALS:
            if missing := [c for c in columns if c not in self.of(who).columns]:
                raise SluiceError(f"predictions of the {who}: no column {', '.join(missing)} (see components/evaluate)")


def same_examples(rivals: Rivals, key: str) -> None:
    """Raise `SluiceError` unless all three tables hold the same examples: anything else is no paired comparison."""
    asked = {who: set(rivals.of(who)[key]) for who in RIVALS}
    for who in RIVALS[1:]:
        if odd := asked["challenger"] ^ asked[who]:
            raise SluiceError(different("the challenger", f"the {who}", odd))


@dataclass(frozen=True)
class Captions:
    """The page's words about a task: what the levels and the facts show, what an example is called, the levels' top."""

    levels: str
    facts: str
    unit: str = "examples"
    top: float | None = None


@dataclass(frozen=True)
class Quality:
    """What a task's rules found.

    ``main`` is the check that the verdict speaks of, one of the ``checks`` that decide; ``slices`` may not fall;
    ``facts`` are shown only. ``limits``: value and least value by name. ``levels``: rows set, who, metric, n, mean,
    low, high. ``unchanged``: the challenger's outputs are the champion's. ``tiles``: (label, value, note) of the
    release report.
    """

    main: Check
    checks: list[Check]
    slices: list[Check]
    facts: list[Check]
    limits: dict[str, tuple[float, float]]
    levels: list[Level]
    unchanged: bool
    tiles: list[tuple[str, str, str]]
    captions: Captions

    def failures(self, settings: GateSettings) -> list[str]:
        """Every reason against the challenger, as sentences."""
        if self.unchanged and not settings.refresh:
            return ["the challenger answers exactly as the champion does: nothing to promote"]
        found = [c.sentence() for c in self.checks if not c.passed]
        found += [f"{c.name} fell: {c.sentence()}" for c in self.slices if not c.passed]
        return found + [f"{k} is {v:.3f}, below {low:.3f}" for k, (v, low) in self.limits.items() if not v >= low]


def quality_verdict(found: Quality, settings: GateSettings) -> Verdict:
    """One verdict of all comparisons; its figures hold every difference, interval and limit."""
    main = found.main
    figures: dict[str, float | int | str | bool] = {
        "metric": main.measure.name,
        "n": main.n,
        "difference": main.gap.mean,
        "low": main.gap.low,
        "high": main.gap.high,
        "margin": main.bound,
        "resamples": settings.resamples,
        "seed": settings.seed,
    }
    for c in found.checks + found.slices:
        figures |= _flat(c.name, c.gap)
    for c in found.facts:
        figures |= _flat(f"{c.measure.name}, {c.name}", c.gap)
    for name, (value, low) in found.limits.items():
        figures |= {name: value, f"{name}, at least": low}
    verb = "holds its ground against" if settings.refresh else "beats"
    reason = f"the challenger {verb} the champion: {main.sentence()}"
    failed = found.failures(settings)
    return Verdict("quality", not failed, "; ".join(failed) or reason, figures)


def _flat(name: str, gap: Interval) -> Mapping[str, float]:
    return {name: gap.mean, f"{name}, low": gap.low, f"{name}, high": gap.high}


def overrule(verdict: Verdict, s: GateSettings) -> Verdict:
    """A failed verdict that a person lets pass: name and reason go on record, the gate's words stay in the reason."""
    if verdict.passed or not s.overruled_by.strip():
        return verdict
    record = {"overruled_by": s.overruled_by.strip(), "overrule_reason": s.overrule_reason.strip()}
    reason = f"overruled by {record['overruled_by']} ({record['overrule_reason']}); the gate said: {verdict.reason}"
    return replace(verdict, passed=True, reason=reason, figures={**verdict.figures, **record})
