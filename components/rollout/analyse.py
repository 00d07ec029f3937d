"""Is the canary worse than stable? Pure functions from two tables of requests of the same window to a verdict."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.rollout.settings import RolloutSettings
from load_tests.slo import SLO, answered
from serving.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

Figures = dict[str, float | int | str | bool]


@dataclass(frozen=True)
class Check:
    """One comparison: worse or not, one clause that says so, the figures behind it, and what was compared."""

    worse: bool
    says: str
    figures: Figures
    name: str


def analyse(stable: "pd.DataFrame", canary: "pd.DataFrame", slo: SLO, settings: RolloutSettings) -> Verdict:
    """Compare a canary with stable over one window: errors, latency, correct answers. Enough samples or no pass.

    A check fails only when the difference is both significant (one-sided, level ``settings.alpha``) and large enough to
    matter (the tolerances): with thousands of requests everything becomes significant, with few nothing does. The way
    of Netflix's automated canary analysis: Graff and Sanden, "Automated canary analysis at Netflix with Kayenta"
    (2018).

    Args:
        stable: one row a request that the stable revision answered or failed: latency_ms (float), status (int), error
            (str), correct (bool or None), asked (str), at (epoch s). Same window and same load as ``canary``.
        canary: the same for the canary.
        slo: gives the scale: an error rate within it and a latency change under a tenth of its p95 do no harm.
        settings: significance level, tolerances, least samples.

    """
    counts: Figures = {"requests_stable": len(stable), "requests_canary": len(canary)}
    few = [f"{name} {n}" for name, n in (("stable", len(stable)), ("canary", len(canary))) if n < settings.min_samples]
    if few:
        reason = f"too few requests to judge: {', '.join(few)}; {settings.min_samples} needed of each"
        return Verdict("canary", False, reason, counts)
    checks = [compare_errors(stable, canary, slo, settings), compare_latency(stable, canary, slo, settings)]
    checks.append(compare_answers(stable, canary, settings))
    found = counts | {name: value for check in checks for name, value in check.figures.items()}
    worse = [check.says for check in checks if check.worse]
    if worse:
        found["worse"] = ", ".join(check.name for check in checks if check.worse)
        return Verdict("canary", False, "the canary is worse: " + "; ".join(worse), found)
    return Verdict("canary", True, "no worse than stable: " + "; ".join(check.says for check in checks), found)


def compare_errors(stable: "pd.DataFrame", canary: "pd.DataFrame", slo: SLO, settings: RolloutSettings) -> Check:
    """Does the canary fail more requests? Share of requests without a 2xx answer.

    Pooled two-proportion z test, one-sided (Fleiss, Levin, Paik, "Statistical methods for rates and proportions", 3rd
    ed., sec. 3.1); where an expected count is under 5 (Cochran's rule), Fisher's exact test. Worse: significant, over
    the SLO, and over stable's share by more than ``settings.error_tolerance``.
    """
    bad_s, bad_c = int((~answered(stable)).sum()), int((~answered(canary)).sum())
    share_s, share_c = bad_s / len(stable), bad_c / len(canary)
    p, test = proportions_p(bad_s, len(stable), bad_c, len(canary))
    worse = p < settings.alpha and share_c > slo.error_rate and share_c - share_s > settings.error_tolerance
    found: Figures = {
        "error_rate_stable": round(share_s, 5),
        "error_rate_canary": round(share_c, 5),
        "p_errors": float(f"{p:.3g}"),
        "test_errors": test,
    }
    return Check(worse, f"errors {share_c:.2%} against {share_s:.2%} (p {p:.2g})", found, "errors")


def proportions_p(bad_a: int, n_a: int, bad_b: int, n_b: int) -> tuple[float, str]:
    """P-value of "b fails no more often than a", and which test gave it (see `compare_errors`)."""
    from scipy.stats import fisher_exact, norm

    pooled = (bad_a + bad_b) / (n_a + n_b)
    if min(pooled, 1 - pooled) * min(n_a, n_b) < 5:
        table = [[bad_b, n_b - bad_b], [bad_a, n_a - bad_a]]
        return float(fisher_exact(table, alternative="greater").pvalue), "Fisher exact, one-sided"
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    return float(norm.sf((bad_b / n_b - bad_a / n_a) / error)), "two-proportion z, one-sided"


def compare_latency(stable: "pd.DataFrame", canary: "pd.DataFrame", slo: SLO, settings: RolloutSettings) -> Check:
    """Is the canary slower? Latency in ms of answered requests.

    Mann-Whitney U, one-sided (Mann and Whitney 1947), as Kayenta's MannWhitneyClassifier uses it, with an effect size
    beside it: the median or the 95th percentile grows by more than ``settings.latency_ratio`` and by more than a
    tenth of the SLO's p95 (a 3 ms answer that takes 5 ms harms nobody).
    """
    from scipy.stats import mannwhitneyu

    a, b = stable.loc[answered(stable), "latency_ms"], canary.loc[answered(canary), "latency_ms"]
    if not len(a) or not len(b):
        return Check(False, "latency not compared, one side answered nothing", {}, "latency")
    p = float(mannwhitneyu(b, a, alternative="greater").pvalue)
    (m_a, q_a), (m_b, q_b) = a.quantile([0.5, 0.95]), b.quantile([0.5, 0.95])
    least = slo.p95_ms / 10
    grown = any(y > x * settings.latency_ratio and y - x > least for x, y in ((m_a, m_b), (q_a, q_b)))
    found: Figures = {
        "p50_ms_stable": round(m_a, 2),
        "p50_ms_canary": round(m_b, 2),
        "p95_ms_stable": round(q_a, 2),
        "p95_ms_canary": round(q_b, 2),
        "p_latency": float(f"{p:.3g}"),
    }
    says = f"latency p50 {m_b:.1f} against {m_a:.1f} ms, p95 {q_b:.1f} against {q_a:.1f} ms (p {p:.2g})"
    return Check(p < settings.alpha and grown, says, found, "latency")


def compare_answers(stable: "pd.DataFrame", canary: "pd.DataFrame", settings: RolloutSettings) -> Check:
    """Does the canary answer fewer labelled requests correctly (see `load_tests.answers.is_correct`)?

    Answers to one question or utterance are copies of each other, not fresh evidence, so the request row is the unit:
    each side's majority mark on every row that both answered, and McNemar's exact test (1947; a sign test on the rows
    where the two differ). Worse: significant, and the share correct falls by more than
    ``settings.correct_tolerance``.
    """
    from scipy.stats import binomtest

    both = _marks(stable).to_frame("stable").join(_marks(canary).rename("canary"), how="inner")
    if not len(both):
        return Check(
            settings.min_questions > 0 and _labelled(stable), "no labelled request was answered by both", {}, "labels"
        )
    lost = int((both["stable"] & ~both["canary"]).sum())
    won = int((~both["stable"] & both["canary"]).sum())
    p = float(binomtest(lost, lost + won, 0.5, alternative="greater").pvalue) if lost + won else 1.0
    share_s, share_c = float(both["stable"].mean()), float(both["canary"].mean())
    found: Figures = {
        "labelled": len(both),
        "share_correct_online_stable": round(share_s, 4),
        "share_correct_online_canary": round(share_c, 4),
        "labelled_lost": lost,
        "labelled_won": won,
        "p_answers": float(f"{p:.3g}"),
    }
    if len(both) < settings.min_questions:
        return Check(True, f"too few labelled requests: {len(both)} of {settings.min_questions}", found, "labels")
    worse = p < settings.alpha and share_s - share_c > settings.correct_tolerance
    return Check(
        worse,
        f"correct answers {share_c:.0%} against {share_s:.0%} of {len(both)} labelled requests (p {p:.2g})",
        found,
        "answers",
    )


def _labelled(samples: "pd.DataFrame") -> bool:
    return bool(samples["correct"].notna().any())


def _marks(samples: "pd.DataFrame") -> "pd.Series[bool]":
    """Majority mark per labelled row (a tie counts as correct)."""
    rows = samples[answered(samples) & samples["correct"].notna()]
    return rows["correct"].astype(float).groupby(rows["asked"]).mean() >= 0.5


def worst(verdicts: Sequence[Verdict]) -> Verdict | None:
    """The first verdict that did not pass."""
    return next((verdict for verdict in verdicts if not verdict.passed), None)
