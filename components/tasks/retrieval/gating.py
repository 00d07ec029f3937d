"""The quality gate of retrieval: recall and reciprocal rank, personas, confidence, BM25 and a constant answer."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
from pydantic import Field

from components.gate.compare import Check, Measure, Scores, check, level, slices
from components.gate.judge import Captions, Level, Quality, Rivals, same_examples
from components.gate.settings import GateSettings
from components.tasks.retrieval.evaluating.ranks import METRICS, per_question
from components.tasks.retrieval.evaluating.ranks import label as score_label
from components.tasks.retrieval.trust import Told, enough, tile, trust_checks
from serving.contract.errors import SluiceError

SETS = {"withheld": "test", "persona": "persona"}
TITLES = {"test": "Test set", "persona": "Users' own words"}
COLUMNS = ("question_id", "set", "category", "persona", "retriever", "rank", "top", "path", "confidence", "abstained")
LEVELS = (
    "Means with 95 % bootstrap intervals, full ranking over all passages. Test set: the sentence that gave the "
    "question is cut out of the searched text. Users' own words: hand-written questions, on the index as served."
)
FACTS = (
    "Paired differences on the same questions with 95 % bootstrap intervals; right of zero the tuned one is better. "
    "Alone means ranked by the encoder only; as served, the ranker adds BM25 and the feature store's columns."
)
WHO = {
    "challenger, as served": ("challenger", "served"),
    "champion, as served": ("champion", "served"),
    "challenger's encoder alone": ("challenger", "dense"),
    "base encoder alone": ("base", "dense"),
    "BM25": ("challenger", "bm25"),
}


class Settings(GateSettings):
    """Section ``gate`` of a retriever; metrics are ``<mrr, recall@K, ndcg@K>_full_<withheld, persona>``.

    ``metric`` decides. ``secondary`` metrics and the personas may not fall: the lower end stays above minus the
    tolerance. ``floors`` are absolute. ``diversity``: of the champion's number of distinct first passages.
    ``confidence_ece``: expected calibration error that the confidence on the personas may not surely exceed; it is
    judged on ``confidence_questions`` or more.
    """

    metric: str = "mrr_full_withheld"
    secondary: tuple[str, ...] = ("recall@10_full_withheld",)
    persona_metric: str = "mrr_full_persona"
    persona_tolerance: float = Field(0.05, ge=0)
    confidence_ece: float = Field(0.08, gt=0, le=1)
    confidence_questions: int = Field(40, ge=2)
    floors: dict[str, float] = {"mrr_full_withheld": 0.3, "recall@10_full_withheld": 0.5, "recall@10_full_persona": 0.3}


def parse_metric(name: str) -> tuple[str, str]:
    """``mrr_full_withheld`` -> ("mrr", "test"). Errors: `SluiceError` for a name of another form."""
    found = re.fullmatch(r"(mrr|recall@\d+|ndcg@\d+)_full_(withheld|persona)", name)
    if not found:
        raise SluiceError(
            f"gate: no metric {name!r}; write mrr, recall@K or ndcg@K, then _full_withheld or _full_persona"
        )
    return found[1], SETS[found[2]]


def measure_of(metric: str) -> Measure:
    """The metric with its words for people."""
    score, name = parse_metric(metric)
    return Measure(metric, score_label(score), {"test": "the test set", "persona": "users' questions"}[name])


def examine(rivals: Rivals, settings: Settings) -> Quality:
    """Compare the challenger with champion, base model, BM25 and a constant answer, whole and by slice.

    Sources without persona questions are judged on the test set alone. Errors: `SluiceError` if the three tables do
    not answer the same questions, or lack a column.
    """
    rivals.require(COLUMNS)
    same_examples(rivals, "question_id")
    checks = _against_champion(rivals, settings)
    rows = levels(rivals, settings)
    trust, tiles = _trust(rivals, settings)
    return Quality(
        main=checks[0],
        checks=[*checks, *_against_trivial(rivals, settings), *trust],
        slices=_slices(rivals, settings),
        facts=_facts(rivals, settings),
        limits=_limits(rivals, settings),
        levels=rows,
        unchanged=identical(rivals.champion, rivals.challenger),
        tiles=[*_tiles(rows), *tiles],
        captions=Captions(LEVELS, FACTS, "questions", 1.04),
    )


def _rows(table: pd.DataFrame, name: str, retriever: str) -> pd.DataFrame:
    chosen = table[(table["set"] == name) & (table["retriever"] == retriever)]
    if chosen.empty:
        raise SluiceError(f"predictions: no rows of set {name!r}, retriever {retriever!r}; evaluate it again")
    return chosen.set_index("question_id").sort_index()


def scores(table: pd.DataFrame, metric: str, retriever: str = "served") -> Scores:
    """One retriever's scores of a metric's question set, out of predictions.parquet."""
    score, name = parse_metric(metric)
    rows = _rows(table, name, retriever)
    return Scores.of(pd.Series(per_question(rows["rank"].to_numpy(), score), index=rows.index))


def _has(rivals: Rivals, metric: str) -> bool:
    """Whether the metric's question set is there: sources of one's own have no persona questions."""
    return parse_metric(metric)[1] in set(rivals.challenger["set"])


def _against_champion(rivals: Rivals, s: Settings) -> list[Check]:
    main = -s.tolerance if s.refresh else s.margin
    bounds = {s.metric: main, **dict.fromkeys(s.secondary, -s.tolerance), s.persona_metric: -s.persona_tolerance}
    return [
        check(scores(rivals.challenger, m), scores(rivals.champion, m), measure_of(m), "the champion", bound, s)
        for m, bound in bounds.items()
        if _has(rivals, m)
    ]


def _against_trivial(rivals: Rivals, s: Settings) -> list[Check]:
    """Better than BM25 and the base encoder alone; where nothing was trained, at least not worse beyond doubt."""
    mine, measure = scores(rivals.challenger, s.metric), measure_of(s.metric)
    others = {
        "BM25": scores(rivals.challenger, s.metric, "bm25"),
        "the base model alone": scores(rivals.base, s.metric, "dense"),
    }
    end, bound = ("high", -s.tolerance) if s.refresh else ("low", 0.0)
    found = [check(mine, theirs, measure, who, bound, s, end) for who, theirs in others.items()]
    constant = mine.with_values(_constant(_rows(rivals.challenger, parse_metric(s.metric)[1], "served")))
    against = "one constant answer"
    return [*found, check(mine, constant, measure, against, 0.0, s, name=f"{s.metric} vs constant")]


def _trust(rivals: Rivals, s: Settings) -> tuple[list[Check], list[tuple[str, str, str]]]:
    """Checks of confidence on the personas, and its tile; no checks where there are too few to judge."""
    if not _has(rivals, s.persona_metric):
        return [], []
    mine, theirs = (Told.of(_rows(t, "persona", "served").reset_index()) for t in (rivals.challenger, rivals.champion))
    checks = trust_checks(mine, theirs, s.confidence_ece, s) if enough(mine, s.confidence_questions) else []
    return checks, [tile(mine, s.confidence_questions)]


def _constant(rows: pd.DataFrame) -> np.ndarray:
    """Scores of always naming the file that is most often right: 1 where it is, though no passage of it is named."""
    return (rows["path"] == rows["path"].mode().iloc[0]).to_numpy(np.float64)


def _slices(rivals: Rivals, s: Settings) -> list[Check]:
    found: list[Check] = []
    for metric, by in ((s.metric, "category"), (s.persona_metric, "persona")):
        if _has(rivals, metric):
            groups = _rows(rivals.challenger, parse_metric(metric)[1], "served")[by]
            mine, theirs = scores(rivals.challenger, metric), scores(rivals.champion, metric)
            found += slices(mine, theirs, groups, by, measure_of(metric), s)
    return found


def _facts(rivals: Rivals, s: Settings) -> list[Check]:
    """What tuning gained, encoder against encoder and against BM25: shown, not decided on."""
    pairs = {
        "tuned encoder alone vs base encoder alone": (("challenger", "dense"), ("base", "dense")),
        "tuned encoder alone vs BM25": (("challenger", "dense"), ("challenger", "bm25")),
        "as served vs base encoder alone": (("challenger", "served"), ("base", "dense")),
        "as served vs BM25": (("challenger", "served"), ("challenger", "bm25")),
    }
    found = []
    for metric in (m for m in (s.metric, s.persona_metric) if _has(rivals, m)):
        for title, ((who, one), (other, two)) in pairs.items():
            mine, theirs = scores(rivals.of(who), metric, one), scores(rivals.of(other), metric, two)
            found.append(check(mine, theirs, measure_of(metric), title.split(" vs ")[1], 0.0, s, name=title))
    return found


def _limits(rivals: Rivals, s: Settings) -> dict[str, tuple[float, float]]:
    found = {
        metric: (float(scores(rivals.challenger, metric).values.mean()), floor)
        for metric, floor in s.floors.items()
        if _has(rivals, metric)
    }
    mine, theirs = (_distinct(t) for t in (rivals.challenger, rivals.champion))
    found["distinct first passages, share of the champion's"] = mine / max(theirs, 1e-9), s.diversity
    return found


def _distinct(predictions: pd.DataFrame) -> float:
    """Share of questions whose first passage no other question got."""
    served = predictions[predictions["retriever"] == "served"]
    return float(served["top"].str[0].nunique() / len(served))


def identical(one: pd.DataFrame, two: pd.DataFrame) -> bool:
    """True when the served rankings agree on every question: the same rank and the same first passages."""
    a, b = (
        t[t["retriever"] == "served"].sort_values(["set", "question_id"]).reset_index(drop=True) for t in (one, two)
    )
    same_keys = a["question_id"].equals(b["question_id"]) and a["rank"].equals(b["rank"])
    return same_keys and all(list(x) == list(y) for x, y in zip(a["top"], b["top"], strict=True))


def levels(rivals: Rivals, s: Settings) -> list[Level]:
    """Means and 95 % intervals of every rival on both sets."""
    rows: list[Level] = []
    for protocol, name in SETS.items():
        for title, (rival, retriever) in WHO.items():
            for metric in METRICS if _has(rivals, f"mrr_full_{protocol}") else ():
                mine = scores(rivals.of(rival), f"{metric}_full_{protocol}", retriever)
                key: Level = {"set": TITLES[name], "who": title, "metric": score_label(metric), "n": len(mine.ids)}
                rows.append({**key, **level(mine, s)._asdict()})
    return rows


def _tiles(rows: list[Level]) -> list[tuple[str, str, str]]:
    found = {(r["set"], r["who"], r["metric"]): r for r in rows}
    tiles = []
    for title in TITLES.values():
        for metric in ("recall@10", "MRR"):
            if (title, "BM25", metric) in found:
                mine, base, words = (
                    float(found[title, who, metric]["mean"])
                    for who in ("challenger, as served", "base encoder alone", "BM25")
                )
                tiles.append((f"{metric}, {title.lower()}", f"{mine:.3f}", f"base {base:.3f}, BM25 {words:.3f}"))
    return tiles
