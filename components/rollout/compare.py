"""Stable against canary, one question at a time: errors, latency, correct answers, votes. Pure functions.

Each comparison also says the smallest harm that it would have called worse, found by asking the comparison itself: a
window of few requests that shows no difference has not shown that there is none.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from components.rollout.settings import RolloutSettings
from load_tests.slo import SLO, answered

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

Figures = dict[str, float | int | str | bool]
Outcome = Literal["passed", "worse", "inconclusive"]
_SUSPICION = 0.1
"""A difference that would matter and whose p-value lies between alpha and this is inconclusive."""
_SLOWEST = 64.0
"""A canary this many times as slow as stable is the slowest that is looked for."""


@dataclass(frozen=True)
class Comparison:
    """One comparison: how it came out, one clause that says so, the figures behind it, and what was compared."""

    outcome: Outcome
    says: str
    figures: Figures
    name: str


@dataclass(frozen=True)
class Votes:
    """Users' votes on the answers of one revision."""

    up: int = 0
    down: int = 0


def outcome_of(p: float, matters: bool, settings: RolloutSettings) -> Outcome:
    """Worse: large enough to matter, and significant. Inconclusive: it would matter, and chance is no good excuse."""
    if not matters or p >= _SUSPICION:
        return "passed"
    return "worse" if p < settings.alpha else "inconclusive"


def compare_errors(stable: "pd.DataFrame", canary: "pd.DataFrame", slo: SLO, settings: RolloutSettings) -> Comparison:
    """Does the canary fail more requests? Share of requests without a 2xx answer.

    Pooled two-proportion z test, one-sided (Fleiss, Levin, Paik, "Statistical methods for rates and proportions", 3rd
    ed., sec. 3.1); where an expected count is under 5 (Cochran's rule), Fisher's exact test. It matters when it is over
    the SLO, and over stable's share by more than ``settings.error_tolerance``. Inconclusive also where an error rate of
    ``settings.detectable_error_rate`` could not have shown.
    """
    n_s, n_c = len(stable), len(canary)
    bad_s, bad_c = int((~answered(stable)).sum()), int((~answered(canary)).sum())

    def judged(bad: int) -> tuple[float, str, Outcome]:
        p, test = proportions_p(bad_s, n_s, bad, n_c)
        matters = bad / n_c > slo.error_rate and bad / n_c - bad_s / n_s > settings.error_tolerance
        return p, test, outcome_of(p, matters, settings)

    share_s, share_c = bad_s / n_s, bad_c / n_c
    p, test, outcome = judged(bad_c)
    least = _smallest(n_c, lambda bad: judged(bad)[2] == "worse")
    seen = 1.0 if least is None else least / n_c
    if outcome == "passed" and seen - share_s > settings.detectable_error_rate:
        outcome = "inconclusive"
    figures: Figures = {
        "error_rate_stable": round(share_s, 5),
        "error_rate_canary": round(share_c, 5),
        "smallest_error_rate_detectable": round(seen, 5),
        "p_errors": float(f"{p:.3g}"),
        "test_errors": test,
    }
    shown = "no rate would have shown" if least is None else f"{seen:.1%} or more would have shown"
    return Comparison(outcome, f"errors {share_c:.2%} against {share_s:.2%} (p {p:.2g}, {shown})", figures, "errors")


def proportions_p(bad_a: int, n_a: int, bad_b: int, n_b: int) -> tuple[float, str]:
    """P-value of "b fails no more often than a", and which test gave it (see `compare_errors`)."""
    from scipy.stats import fisher_exact, norm

    pooled = (bad_a + bad_b) / (n_a + n_b)
    if min(pooled, 1 - pooled) * min(n_a, n_b) < 5:
        table = [[bad_b, n_b - bad_b], [bad_a, n_a - bad_a]]
        return float(fisher_exact(table, alternative="greater").pvalue), "Fisher exact, one-sided"
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    return float(norm.sf((bad_b / n_b - bad_a / n_a) / error)), "two-proportion z, one-sided"


def compare_latency(stable: "pd.DataFrame", canary: "pd.DataFrame", slo: SLO, settings: RolloutSettings) -> Comparison:
    """Is the canary slower? Latency in ms of answered requests.

    Mann-Whitney U, one-sided (Mann and Whitney 1947), as Kayenta's MannWhitneyClassifier uses it, with an effect size
    beside it: the median or the 95th percentile grows by more than ``settings.latency_ratio`` and by more than a
    tenth of the SLO's p95 (a 3 ms answer that takes 5 ms harms nobody). The smallest slowdown that would have shown is
    looked for among copies of stable's own latencies, all multiplied by one factor.
    """
    a = stable.loc[answered(stable), "latency_ms"].to_numpy(float)
    b = canary.loc[answered(canary), "latency_ms"].to_numpy(float)
    if not len(a) or not len(b):
        return Comparison("passed", "latency not compared, one side answered nothing", {}, "latency")
    p, outcome = _slower(a, b, slo, settings)
    like_stable = np.quantile(a, (np.arange(len(b)) + 0.5) / len(b))
    steps = round(4 * math.log2(_SLOWEST))
    step = _smallest(steps, lambda n: _slower(a, like_stable * 2 ** (n / 4), slo, settings)[1] == "worse")
    (m_a, q_a), (m_b, q_b) = np.quantile(a, [0.5, 0.95]), np.quantile(b, [0.5, 0.95])
    figures: Figures = {
        "p50_ms_stable": round(m_a, 2),
        "p50_ms_canary": round(m_b, 2),
        "p95_ms_stable": round(q_a, 2),
        "p95_ms_canary": round(q_b, 2),
        "p_latency": float(f"{p:.3g}"),
    }
    shown = "no slowdown would have shown"
    if step is not None:
        figures["smallest_latency_ratio_detectable"] = round(2 ** (step / 4), 2)
        shown = f"{2 ** (step / 4):.1f} times stable's would have shown"
    says = f"latency p50 {m_b:.1f} against {m_a:.1f} ms, p95 {q_b:.1f} against {q_a:.1f} ms (p {p:.2g}, {shown})"
    return Comparison(outcome, says, figures, "latency")


def _slower(
    a: "npt.NDArray[np.float64]", b: "npt.NDArray[np.float64]", slo: SLO, settings: RolloutSettings
) -> tuple[float, Outcome]:
    from scipy.stats import mannwhitneyu

    p = float(mannwhitneyu(b, a, alternative="greater").pvalue)
    pairs = zip(np.quantile(a, [0.5, 0.95]), np.quantile(b, [0.5, 0.95]), strict=True)
    grown = any(y > x * settings.latency_ratio and y - x > slo.p95_ms / 10 for x, y in pairs)
    return p, outcome_of(p, grown, settings)


def compare_answers(stable: "pd.DataFrame", canary: "pd.DataFrame", settings: RolloutSettings) -> Comparison:
    """Does the canary answer fewer labelled requests correctly (see `load_tests.asked.is_correct`)?

    Answers to one question or utterance are copies of each other, not fresh evidence, so the request row is the unit:
    each side's majority mark on every row that both answered, and McNemar's exact test (1947; a sign test on the rows
    where the two differ). It matters when the share correct falls by more than ``settings.correct_tolerance``.
    Inconclusive also with fewer rows than ``settings.min_questions``.
    """
    both = _marks(stable).to_frame("stable").join(_marks(canary).rename("canary"), how="inner")
    if not len(both):
        few = settings.min_questions > 0 and bool(stable["correct"].notna().any())
        return Comparison(
            "inconclusive" if few else "passed", "no labelled request was answered by both", {}, "answers"
        )
    lost = int((both["stable"] & ~both["canary"]).sum())
    won = int((~both["stable"] & both["canary"]).sum())

    def judged(lost: int, won: int) -> tuple[float, Outcome]:
        p = _sign_p(lost, won)
        return p, outcome_of(p, (lost - won) / len(both) > settings.correct_tolerance, settings)

    p, outcome = judged(lost, won)
    least = _smallest(len(both), lambda lost: judged(lost, 0)[1] == "worse")
    share_s, share_c = float(both["stable"].mean()), float(both["canary"].mean())
    figures: Figures = {
        "labelled": len(both),
        "share_correct_online_stable": round(share_s, 4),
        "share_correct_online_canary": round(share_c, 4),
        "labelled_lost": lost,
        "labelled_won": won,
        "p_answers": float(f"{p:.3g}"),
    }
    shown = "no fall would have shown"
    if least is not None:
        figures["smallest_fall_of_correct_detectable"] = round(least / len(both), 4)
        shown = f"a fall by {least / len(both):.0%} would have shown"
    if len(both) < settings.min_questions:
        says = f"too few labelled requests: {len(both)} of {settings.min_questions}"
        return Comparison("worse" if outcome == "worse" else "inconclusive", says, figures, "answers")
    says = f"correct answers {share_c:.0%} against {share_s:.0%} of {len(both)} labelled requests (p {p:.2g}, {shown})"
    return Comparison(outcome, says, figures, "answers")


def compare_votes(stable: Votes, canary: Votes, settings: RolloutSettings) -> Comparison:
    """Do users like the canary less? Share of votes that say "down", of all votes since the canary's first request.

    The test of `compare_errors`; it matters when the share grows by more than ``settings.vote_tolerance``. Votes come
    when users please, so that a longer window would not settle a doubt: what is not worse passes, with the smallest
    difference that would have shown.
    """
    n_s, n_c = stable.up + stable.down, canary.up + canary.down
    figures: Figures = {"votes_stable": n_s, "votes_canary": n_c}
    if not n_s or not n_c:
        return Comparison("passed", f"votes not compared ({n_s} on stable, {n_c} on the canary)", figures, "votes")
    share_s, share_c = stable.down / n_s, canary.down / n_c

    def worse(down: int) -> bool:
        p, _ = proportions_p(stable.down, n_s, down, n_c)
        return p < settings.alpha and down / n_c - share_s > settings.vote_tolerance

    p, _ = proportions_p(stable.down, n_s, canary.down, n_c)
    least = _smallest(n_c, worse)
    figures |= {
        "share_down_stable": round(share_s, 4),
        "share_down_canary": round(share_c, 4),
        "p_votes": float(f"{p:.3g}"),
    }
    shown = "no share would have shown"
    if least is not None:
        figures["smallest_share_down_detectable"] = round(least / n_c, 4)
        shown = f"{least / n_c:.0%} or more would have shown"
    says = f"votes down {share_c:.0%} of {n_c} against {share_s:.0%} of {n_s} (p {p:.2g}, {shown})"
    return Comparison("worse" if worse(canary.down) else "passed", says, figures, "votes")


def _sign_p(lost: int, won: int) -> float:
    from scipy.stats import binomtest

    return float(binomtest(lost, lost + won, 0.5, alternative="greater").pvalue) if lost + won else 1.0


def _smallest(most: int, worse: Callable[[int], bool]) -> int | None:
    """The smallest number in 1..``most`` that is ``worse``, by bisection; None if not even ``most`` is."""
    if not worse(most):
        return None
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if worse(middle) else (middle, high)
    return high


def _marks(samples: "pd.DataFrame") -> "pd.Series[bool]":
    """Majority mark per labelled row (a tie counts as correct)."""
    rows = samples[answered(samples) & samples["correct"].notna()]
    return rows["correct"].astype(float).groupby(rows["asked"]).mean() >= 0.5
