"""The quality gate, whatever the task: from what a task declares and three tables of predictions to a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from components.common.levels import Entry, Level, Tile
from components.common.scores import Interval
from components.gate.compare import LEVEL, Check, check, slices
from components.gate.rules import Captions, Examined, Floors, Predictions, QualityGate, Rivals, S, Versus
from components.gate.settings import GateSettings
from serving.contract.verdict import Verdict


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
    limits: Floors
    levels: list[Level]
    unchanged: bool
    tiles: list[Tile]
    captions: Captions

    def failures(self, settings: GateSettings) -> list[str]:
        """Every reason against the challenger, as sentences."""
        if self.unchanged and not settings.refresh:
            return ["the challenger answers exactly as the champion does: nothing to promote"]
        found = [c.sentence() for c in self.checks if not c.passed]
        found += [f"{c.name} fell: {c.sentence()}" for c in self.slices if not c.passed]
        return found + [f"{k} is {v:.3f}, below {low:.3f}" for k, (v, low) in self.limits.items() if not v >= low]


def examine(gate: QualityGate[S], rivals: Rivals, settings: S) -> Quality:
    """Compare the challenger with champion, base model and everything trivial as ``gate`` declares, whole and by slice.

    Errors: `SluiceError` if the three tables do not hold the same examples, or lack a column or system.
    """
    read = Predictions(gate, rivals)
    main, *others = gate.rules(settings)
    checks = [_compared(read, rule, settings) for rule in (main, *others) if rule is main or read.has(rule.metric.only)]
    checks += gate.extra(read, settings)
    fallen = []
    for metric, by in gate.slices(settings):
        if read.has(metric.only):
            mine, theirs = (read.scores(metric, Entry(who)) for who in ("challenger", "champion"))
            fallen += slices(mine, theirs, read.rows(only=metric.only)[by], by, metric, settings)
    floors = {name: floor for name, floor in gate.floors(settings).items() if read.has(floor[0].only)}
    levels = [row for panel in gate.panels for row in read.levels(panel, LEVEL, settings.seed)]
    return Quality(
        main=checks[0],
        checks=checks,
        slices=fallen,
        facts=[_compared(read, rule, settings) for rule in gate.facts(settings) if read.has(rule.metric.only)],
        limits={k: (read.scores(metric).mean, least) for k, (metric, least) in floors.items()}
        | gate.limits(read, settings),
        levels=levels,
        unchanged=read.unchanged(),
        tiles=gate.tiles(Examined(read, levels, checks), settings),
        captions=gate.captions,
    )


def _compared(read: Predictions, rule: Versus, settings: GateSettings) -> Check:
    metric, mine = rule.metric, read.scores(rule.metric, rule.mine)
    if isinstance(rule.rival, Entry):
        theirs = read.scores(metric, rule.rival)
    else:
        theirs = rule.rival(read.rows(rule.mine, metric.only), mine)
    return check(mine, theirs, metric, rule.against, rule.bound, settings, rule.end, rule.name)


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
