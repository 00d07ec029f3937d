"""The quality gate of retrieval: recall and reciprocal rank, personas, confidence, BM25 and a constant answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import Field

from components.common.levels import SERVED, Entry, Panel, Scores, Tile
from components.gate import rules
from components.gate.settings import GateSettings
from components.tasks.retrieval import trust
from components.tasks.retrieval.evaluating.ranks import METRICS, SETS, label, metric_of

DENSE, BM25 = "base encoder alone", "BM25"
WHO = {
    "challenger, as served": SERVED,
    "champion, as served": Entry("champion"),
    "challenger's encoder alone": Entry(system="dense"),
    DENSE: Entry("base", "dense"),
    BM25: Entry(system="bm25"),
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


def _rules(s: Settings) -> list[rules.Versus]:
    metric = metric_of(s.metric)
    fall = dict.fromkeys(s.secondary, s.tolerance) | {s.persona_metric: s.persona_tolerance}
    return [
        rules.gain(metric, s),
        *(rules.held(metric_of(name), most) for name, most in fall.items() if name != s.metric),
        rules.beaten(metric, "BM25", WHO[BM25], s),
        rules.beaten(metric, "the base model alone", WHO[DENSE], s),
        rules.Versus(metric, "one constant answer", _constant, name=f"{s.metric} vs constant"),
    ]


def _constant(rows: pd.DataFrame, mine: Scores) -> Scores:
    """Scores of always naming the file that is most often right: 1 where it is, though no passage of it is named."""
    return mine.with_values((rows["path"] == rows["path"].mode().iloc[0]).to_numpy(np.float64))


def _facts(s: Settings) -> list[rules.Versus]:
    """What tuning gained, encoder against encoder and against BM25."""
    mine = {"tuned encoder alone": Entry(system="dense"), "as served": SERVED}
    pairs = [(a, b) for a in mine for b in (DENSE, BM25)]
    metrics = [metric_of(name) for name in (s.metric, s.persona_metric)]
    return [rules.Versus(m, b, WHO[b], mine[a], name=f"{a} vs {b}") for m in metrics for a, b in pairs]


def _limits(read: rules.Predictions, s: Settings) -> rules.Floors:
    served = [read.rows(Entry(who)) for who in ("challenger", "champion")]
    mine, theirs = (float(rows["top"].str[0].nunique() / len(rows)) for rows in served)
    return {"distinct first passages, share of the champion's": (mine / max(theirs, 1e-9), s.diversity)}


def _tiles(found: rules.Examined, s: Settings) -> list[Tile]:
    beside = {"base": DENSE, "BM25": BM25}
    tiles = [
        one
        for _, _, title in SETS.values()
        for metric in ("recall@10", "MRR")
        for one in found.tile(f"{metric}, {title.lower()}", title, metric, beside)
    ]
    return [*tiles, *trust.tiles(found.read, s.confidence_questions)]


GATE = rules.QualityGate(
    settings=Settings,
    example="question_id",
    system="retriever",
    columns=("question_id", "set", "category", "persona", "retriever", "rank", "top", "path", "confidence",
             "abstained"),
    outputs=("rank", "top"),
    captions=rules.Captions(
        "Means with 95 % bootstrap intervals, full ranking over all passages. Test set: the sentence that gave the "
        "question is cut out of the searched text. Users' own words: hand-written questions, on the index as served.",
        "Paired differences on the same questions with 95 % bootstrap intervals; right of zero the tuned one is "
        "better. Alone means ranked by the encoder only; as served, the ranker adds BM25 and the feature store's "
        "columns.",
        "questions",
        1.04,
    ),
    rules=_rules,
    slices=lambda s: [(metric_of(s.metric), "category"), (metric_of(s.persona_metric), "persona")],
    facts=_facts,
    panels=[
        Panel(title, WHO, {label(m): metric_of(f"{m}_full_{protocol}") for m in METRICS})
        for protocol, (_, _, title) in SETS.items()
    ],
    floors=lambda s: {name: (metric_of(name), least) for name, least in s.floors.items()},
    limits=_limits,
    extra=lambda read, s: trust.checks(read, s.confidence_questions, s.confidence_ece, s),
    tiles=_tiles,
)  # fmt: skip
