"""The quality gate: every comparison the challenger has to stand, and the verdicts that follow. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from components.evaluate.scores import METRICS, Interval, intervals, per_question
from components.gate.compare import (
    Check,
    check,
    compare,
    difference,
    different,
    identical,
    parse_metric,
    rows_of,
)
from components.gate.settings import GateSettings
from serving.errors import SluiceError
from serving.verdict import Verdict


@dataclass(frozen=True)
class Rivals:
    """The three prediction tables of one decision."""

    challenger: pd.DataFrame
    champion: pd.DataFrame
    base: pd.DataFrame

    def sets(self) -> tuple[str, ...]:
        """Question sets there are: test and, unless the source has no persona questions, persona."""
        return tuple(name for name in ("test", "persona") if name in set(self.challenger["set"]))

    def has(self, metric: str) -> bool:
        """Whether the metric's question set is there."""
        return parse_metric(metric)[1] in self.sets()

    def rows(self, who: str, name: str, retriever: str = "served") -> pd.DataFrame:
        """Rows of one rival, question set and retriever (see `rows_of`)."""
        return rows_of(getattr(self, who), name, retriever, who)


@dataclass(frozen=True)
class Quality:
    """What the gate found: comparisons that decide, slices, mere facts, absolute limits, levels for the pictures."""

    checks: list[Check]
    slices: list[Check]
    facts: list[Check]
    limits: dict[str, tuple[float, float]]
    levels: list[dict[str, float | int | str]]
    unchanged: bool

    def failures(self) -> list[str]:
        """Every reason against the challenger, as sentences."""
        if self.unchanged:
            return ["the challenger ranks exactly as the champion does: nothing to promote"]
        found = [c.sentence() for c in self.checks if not c.passed]
        found += [f"{c.name} fell: {c.sentence()}" for c in self.slices if not c.passed]
        return found + [f"{k} is {v:.3f}, below {low:.3f}" for k, (v, low) in self.limits.items() if not v >= low]


def examine(rivals: Rivals, settings: GateSettings) -> Quality:
    """Compare the challenger with champion, base model, BM25 and a constant answer, whole and by slice.

    Sources without persona questions are judged on the test set alone. Errors: `SluiceError` if the three tables do
    not answer the same questions.
    """
    _same_questions(rivals)
    return Quality(
        checks=[*_against_champion(rivals, settings), *_against_trivial(rivals, settings)],
        slices=_slices(rivals, settings),
        facts=_facts(rivals, settings),
        limits=_limits(rivals, settings),
        levels=levels(rivals, settings),
        unchanged=identical(rivals.champion, rivals.challenger),
    )


def _same_questions(rivals: Rivals) -> None:
    for name in ("test", "persona"):
        asked = {who: _ids(getattr(rivals, who), name) for who in ("challenger", "champion", "base")}
        for who in ("champion", "base"):
            if odd := asked["challenger"] ^ asked[who]:
                raise SluiceError(different("the challenger", f"the {who}", odd))


def _ids(predictions: pd.DataFrame, name: str) -> set[str]:
    return set(predictions.loc[predictions["set"] == name, "question_id"])


def _against_champion(rivals: Rivals, s: GateSettings) -> list[Check]:
    bounds = {s.metric: s.margin, **dict.fromkeys(s.secondary, -s.tolerance), s.persona_metric: -s.persona_tolerance}
    checks = []
    for metric, bound in bounds.items():
        if not rivals.has(metric):
            continue
        name = parse_metric(metric)[1]
        rows = rivals.rows("challenger", name), rivals.rows("champion", name)
        checks.append(check(*rows, metric, "the champion", bound, s.resamples, s.seed))
    return checks


def _against_trivial(rivals: Rivals, s: GateSettings) -> list[Check]:
    score, name = parse_metric(s.metric)
    mine = rivals.rows("challenger", name)
    others = {
        "BM25": rivals.rows("challenger", name, "bm25"),
        "the base model alone": rivals.rows("base", name, "dense"),
    }
    checks = [check(mine, rows, s.metric, who, 0.0, s.resamples, s.seed) for who, rows in others.items()]
    gap = difference(per_question(mine["rank"].to_numpy(), score), _constant(mine), s.resamples, s.seed)
    against = "one constant answer"
    return [*checks, Check(f"{s.metric} vs constant", against, s.metric, len(mine), gap, "low", 0.0)]


def _constant(rows: pd.DataFrame) -> np.ndarray:
    """Scores of always naming the file that is most often right: 1 where it is, though no passage of it is named."""
    return (rows["path"] == rows["path"].mode().iloc[0]).to_numpy(np.float64)


def _slices(rivals: Rivals, s: GateSettings) -> list[Check]:
    found = []
    for metric, by in ((s.metric, "category"), (s.persona_metric, "persona")):
        if not rivals.has(metric):
            continue
        score, name = parse_metric(metric)
        mine, theirs = rivals.rows("challenger", name), rivals.rows("champion", name)
        gains = [per_question(t["rank"].to_numpy(), score) for t in (mine, theirs)]
        for part in sorted(p for p in mine[by].unique() if p):
            rows = (mine[by] == part).to_numpy()
            if rows.sum() >= s.min_slice:
                gap = difference(gains[0][rows], gains[1][rows], s.resamples, s.seed)
                title = f"{by} {part}"
                found.append(Check(title, "the champion", metric, int(rows.sum()), gap, "high", -s.slice_tolerance))
    return found


def _facts(rivals: Rivals, s: GateSettings) -> list[Check]:
    """What tuning gained, encoder against encoder and against BM25: shown, not decided on."""
    pairs = {
        "tuned encoder alone vs base encoder alone": (("challenger", "dense"), ("base", "dense")),
        "tuned encoder alone vs BM25": (("challenger", "dense"), ("challenger", "bm25")),
        "as served vs base encoder alone": (("challenger", "served"), ("base", "dense")),
        "as served vs BM25": (("challenger", "served"), ("challenger", "bm25")),
    }
    found = []
    for metric in filter(rivals.has, (s.metric, s.persona_metric)):
        score, name = parse_metric(metric)
        for title, ((who, one), (other, two)) in pairs.items():
            mine, theirs = rivals.rows(who, name, one), rivals.rows(other, name, two)
            scores = [per_question(t["rank"].to_numpy(), score) for t in (mine, theirs)]
            gap = difference(scores[0], scores[1], s.resamples, s.seed)
            found.append(Check(title, title.split(" vs ")[1], metric, len(mine), gap, "low", 0.0))
    return found


def _limits(rivals: Rivals, s: GateSettings) -> dict[str, tuple[float, float]]:
    found = {}
    for metric, floor in s.floors.items():
        if not rivals.has(metric):
            continue
        score, name = parse_metric(metric)
        found[metric] = float(per_question(rivals.rows("challenger", name)["rank"].to_numpy(), score).mean()), floor
    mine, theirs = (_distinct(t) for t in (rivals.challenger, rivals.champion))
    found["distinct first passages, share of the champion's"] = mine / max(theirs, 1e-9), s.diversity
    return found


def _distinct(predictions: pd.DataFrame) -> float:
    """Share of questions whose first passage no other question got."""
    served = predictions[predictions["retriever"] == "served"]
    return float(served["top"].str[0].nunique() / len(served))


def levels(rivals: Rivals, s: GateSettings) -> list[dict[str, float | int | str]]:
    """Means and 95 % intervals of every rival on both sets: set, who, metric, n, mean, low, high."""
    who = {
        "challenger, as served": ("challenger", "served"),
        "champion, as served": ("champion", "served"),
        "challenger's encoder alone": ("challenger", "dense"),
        "base encoder alone": ("base", "dense"),
        "BM25": ("challenger", "bm25"),
    }
    rows: list[dict[str, float | int | str]] = []
    for name in rivals.sets():
        for title, (rival, retriever) in who.items():
            ranks = rivals.rows(rival, name, retriever)["rank"].to_numpy()
            values = np.column_stack([per_question(ranks, m) for m in METRICS])
            for metric, found in zip(METRICS, intervals(values, 2000, s.seed), strict=True):
                rows.append({"set": name, "who": title, "metric": metric, "n": len(ranks), **found._asdict()})
    return rows


def quality_verdict(rivals: Rivals, found: Quality, s: GateSettings) -> Verdict:
    """One verdict of all comparisons; its figures hold every difference, interval and limit."""
    main = compare(rivals.champion, rivals.challenger, s.metric, s.margin, s.resamples, s.seed)
    figures = dict(main.figures)
    for c in found.checks + found.slices:
        figures |= _flat(c.name, c.gap)
    for c in found.facts:
        figures |= _flat(f"{c.metric}, {c.name}", c.gap)
    for name, (value, low) in found.limits.items():
        figures |= {name: value, f"{name}, at least": low}
    failed = found.failures()
    reason = main.reason if not failed else "; ".join(failed)
    return Verdict("quality", not failed, reason, figures)


def _flat(name: str, gap: Interval) -> Mapping[str, float]:
    return {name: gap.mean, f"{name}, low": gap.low, f"{name}, high": gap.high}


def overrule(verdict: Verdict, s: GateSettings) -> Verdict:
    """A failed verdict that a person lets pass: name and reason go on record, the gate's words stay in the reason."""
    if verdict.passed or not s.overruled_by.strip():
        return verdict
    record = {"overruled_by": s.overruled_by.strip(), "overrule_reason": s.overrule_reason.strip()}
    reason = f"overruled by {record['overruled_by']} ({record['overrule_reason']}); the gate said: {verdict.reason}"
    return replace(verdict, passed=True, reason=reason, figures={**verdict.figures, **record})
