"""Is the canary worse than stable? A pure function from two tables of requests of the same window to a verdict."""

from typing import TYPE_CHECKING

from components.rollout.compare import (
    Comparison,
    Figures,
    Votes,
    compare_answers,
    compare_errors,
    compare_latency,
    compare_votes,
)
from components.rollout.settings import RolloutSettings
from load_tests.slo import SLO
from serving.contract.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd


def analyse(
    stable: "pd.DataFrame",
    canary: "pd.DataFrame",
    slo: SLO,
    settings: RolloutSettings,
    votes: tuple[Votes, Votes] | None = None,
) -> Verdict:
    """Compare a canary with stable over one window: errors, latency, correct answers, votes.

    A check calls the canary worse only when the difference is both significant (one-sided, level ``settings.alpha``)
    and large enough to matter (the tolerances): with thousands of requests everything becomes significant, with few
    nothing does. The way of Netflix's automated canary analysis: Graff and Sanden, "Automated canary analysis at
    Netflix with Kayenta" (2018). Every check says the smallest effect it would have called worse. A verdict that did
    not pass names what was worse in ``figures["worse"]``; where nothing was, it is inconclusive and
    ``figures["inconclusive"]`` names what more requests would settle (see `inconclusive`).

    Args:
        stable: one row a request that the stable revision answered or failed: latency_ms (float), status (int), error
            (str), correct (bool or None), asked (str), at (epoch s). Same window and same load as ``canary``.
        canary: the same for the canary.
        slo: gives the scale: an error rate within it and a latency change under a tenth of its p95 do no harm.
        settings: significance level, tolerances, least samples.
        votes: users' votes on stable's and on the canary's answers since the canary's first request; None: not known.

    """
    counts: Figures = {"requests_stable": len(stable), "requests_canary": len(canary)}
    few = [f"{name} {n}" for name, n in (("stable", len(stable)), ("canary", len(canary))) if n < settings.min_samples]
    checks = [compare_votes(*votes, settings)] if votes else []
    if not few:
        checks = [
            compare_errors(stable, canary, slo, settings),
            compare_latency(stable, canary, slo, settings),
            compare_answers(stable, canary, settings),
            *checks,
        ]
    figures = counts | {name: value for check in checks for name, value in check.figures.items()}
    if worse := _of(checks, "worse"):
        figures["worse"] = ", ".join(check.name for check in worse)
        return Verdict("canary", False, f"the canary is worse: {_says(worse)}", figures)
    if few:
        figures["inconclusive"] = "requests"
        reason = f"too few requests to judge: {', '.join(few)}; {settings.min_samples} needed of each"
        return Verdict("canary", False, f"inconclusive: {reason}", figures)
    if unsure := _of(checks, "inconclusive"):
        figures["inconclusive"] = ", ".join(check.name for check in unsure)
        return Verdict("canary", False, f"inconclusive: {_says(unsure)}", figures)
    return Verdict("canary", True, f"no worse than stable: {_says(checks)}", figures)


def inconclusive(verdict: Verdict) -> bool:
    """Could not be told, for want of requests or because chance alone may explain the difference?"""
    return not verdict.passed and bool(verdict.figures.get("inconclusive"))


def _of(checks: list[Comparison], outcome: str) -> list[Comparison]:
    return [check for check in checks if check.outcome == outcome]


def _says(checks: list[Comparison]) -> str:
    return "; ".join(check.says for check in checks)
