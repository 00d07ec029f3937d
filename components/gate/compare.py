"""Is one system better than another on the same questions? Paired bootstrap over questions; pure functions."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from components.evaluate.scores import Floats, Interval, per_question, resampled_means
from serving.errors import SluiceError
from serving.verdict import Verdict

SETS = {"withheld": "test", "persona": "persona"}
COLUMNS = ("question_id", "set", "category", "persona", "retriever", "rank", "top", "path")


def parse_metric(name: str) -> tuple[str, str]:
    """``mrr_full_withheld`` -> ("mrr", "test"). Errors: `SluiceError` for a name of another form."""
    found = re.fullmatch(r"(mrr|recall@\d+|ndcg@\d+)_full_(withheld|persona)", name)
    if not found:
        raise SluiceError(
            f"gate: no metric {name!r}; write mrr, recall@K or ndcg@K, then _full_withheld or _full_persona"
        )
    return found[1], SETS[found[2]]


def plain(metric: str) -> str:
    """A metric's name for people: ``mrr_full_withheld`` -> "MRR on the test set"."""
    score, name = parse_metric(metric)
    words = {"test": "on the test set", "persona": "on users' questions"}[name]
    return f"{score.replace('mrr', 'MRR').replace('ndcg', 'nDCG')} {words}"


def rows_of(predictions: pd.DataFrame, name: str, retriever: str, who: str) -> pd.DataFrame:
    """The rows of one question set and retriever, indexed by question id, sorted.

    Errors: `SluiceError` naming the missing column, set or a question that is there twice; ``who`` is whose they are.
    """
    if missing := [c for c in COLUMNS if c not in predictions.columns]:
        raise SluiceError(f"predictions of the {who}: no column {', '.join(missing)} (see components/evaluate)")
    chosen = predictions[(predictions["set"] == name) & (predictions["retriever"] == retriever)]
    table = chosen.set_index("question_id").sort_index()
    if table.empty:
        raise SluiceError(
            f"predictions of the {who}: no rows of set {name!r}, retriever {retriever!r}; evaluate it again"
        )
    if table.index.has_duplicates:
        twice = table.index[table.index.duplicated()][0]
        raise SluiceError(f"predictions of the {who}: question {twice} is there twice; evaluate it again")
    return table


def different(one: str, two: str, odd: set[str]) -> str:
    """What to say when two tables answer different questions; ``odd`` are those in one only."""
    return (
        f"predictions of {one} and {two} answer different questions ({len(odd)} are in one only, "
        f"such as {min(odd)}); evaluate both on the same questions.parquet"
    )


def same_questions(one: pd.DataFrame, two: pd.DataFrame, who: str) -> None:
    """Raise `SluiceError` unless both tables answer the very same questions: anything else is no paired comparison."""
    if not one.index.equals(two.index):
        raise SluiceError(different("the challenger", who, set(one.index.symmetric_difference(two.index))))


def difference(better: Floats, worse: Floats, resamples: int, seed: int) -> Interval:
    """Mean of the paired differences and their 95 % percentile bootstrap interval.

    Questions are resampled, each with both of its scores (Efron & Tibshirani 1993, ch. 13 and 16; Koehn 2004 for
    comparing systems). In: two score lists [n] of the same questions. Out: positive where ``better`` is.
    """
    gap = better - worse
    low, high = np.quantile(resampled_means(gap, resamples, seed)[:, 0], [0.025, 0.975])
    return Interval(float(gap.mean()), float(low), float(high))


def identical(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    """True when the served rankings agree on every question: the same rank and the same first passages."""
    a, b = (
        t[t["retriever"] == "served"].sort_values(["set", "question_id"]).reset_index(drop=True) for t in (one, two)
    )
    same_keys = a["question_id"].equals(b["question_id"]) and a["rank"].equals(b["rank"])
    return same_keys and all(list(x) == list(y) for x, y in zip(a["top"], b["top"], strict=True))


@dataclass(frozen=True)
class Check:
    """One comparison of the challenger: with whom, on what, the difference, and the bound it had to keep.

    ``bound`` is the lowest allowed value of ``end`` ("low" or "high") of the interval, exclusive.
    """

    name: str
    against: str
    metric: str
    n: int
    gap: Interval
    end: str
    bound: float

    @property
    def passed(self) -> bool:
        """Whether the interval keeps the bound."""
        return (self.gap.low if self.end == "low" else self.gap.high) > self.bound

    def sentence(self) -> str:
        """The comparison in words, with its interval and, where it failed, the bound that it missed."""
        gap = self.gap
        text = f"{plain(self.metric)} {gap.mean:+.3f} against {self.against} (95 % {gap.low:+.3f} to {gap.high:+.3f}"
        need = f"has to {'end' if self.end == 'high' else 'start'} above {self.bound:+.3f}"
        return f"{text}, n = {self.n})" if self.passed else f"{text}, {need}; n = {self.n})"


def check(
    challenger: pd.DataFrame, other: pd.DataFrame, metric: str, against: str, bound: float, resamples: int, seed: int
) -> Check:
    """Compare rows of `rows_of` on one score; passes when the interval's lower end lies above ``bound``."""
    same_questions(challenger, other, against)
    score, _ = parse_metric(metric)
    scores = [per_question(t["rank"].to_numpy(), score) for t in (challenger, other)]
    gap = difference(scores[0], scores[1], resamples, seed)
    return Check(f"{metric} vs {against}", against, metric, len(challenger), gap, "low", bound)


def compare(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    metric: str,
    margin: float,
    resamples: int = 10_000,
    seed: int = 0,
) -> Verdict:
    """Does the challenger beat the champion by more than ``margin`` on ``metric``?

    In: two tables of predictions.parquet that answer the same questions; ``margin`` in the metric's unit. Passes only
    when the lower end of the paired difference's 95 % interval lies above the margin; a challenger that ranks exactly
    as the champion never does. Errors: `SluiceError` for questions that differ, a column or a metric that is missing.
    """
    _, name = parse_metric(metric)
    mine, theirs = (rows_of(t, name, "served", w) for t, w in ((challenger, "challenger"), (champion, "champion")))
    found = check(mine, theirs, metric, "the champion", margin, resamples, seed)
    figures: dict[str, float | int | str | bool] = {
        "metric": metric,
        "n": found.n,
        "difference": found.gap.mean,
        "low": found.gap.low,
        "high": found.gap.high,
        "margin": margin,
        "resamples": resamples,
        "seed": seed,
    }
    if identical(champion, challenger):
        return Verdict(
            "quality", False, "the challenger ranks exactly as the champion does: nothing to promote", figures
        )
    verb = "beats" if found.passed else "does not beat"
    return Verdict("quality", found.passed, f"the challenger {verb} the champion: {found.sentence()}", figures)
