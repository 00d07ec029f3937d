"""Scores of rankings, and how the metrics are called that they make."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
from numpy.typing import NDArray

from components.common.levels import Metric, Subset
from components.common.scores import Floats
from serving.contract.errors import SluiceError

SETS = {
    "withheld": ("test", "the test set", "Test set"),
    "persona": ("persona", "users' questions", "Users' own words"),
}
METRICS = ("recall@1", "recall@5", "recall@10", "mrr", "ndcg@10")


def label(metric: str) -> str:
    """A score's name as people write it."""
    return metric.replace("mrr", "MRR").replace("ndcg", "nDCG")


def per_question(rank: NDArray[np.integer], metric: str) -> Floats:
    """One score a question, 0 to 1, from the 1-based rank of its best gold passage; float64 [questions].

    ``metric`` is ``mrr`` (reciprocal rank), ``recall@K`` (found among the first K) or ``ndcg@K`` (binary gain of the
    best gold passage, Järvelin & Kekäläinen 2002: one passage that answers is enough, so the ideal gain is 1).
    """
    rank = np.asarray(rank, dtype=np.float64)
    if metric == "mrr":
        return 1.0 / rank
    kind, _, digits = metric.partition("@")
    if kind not in ("recall", "ndcg") or not digits.isdigit():
        raise ValueError(f"no metric {metric!r}; known: mrr, recall@K, ndcg@K")
    found = rank <= int(digits)
    return found.astype(np.float64) if kind == "recall" else np.where(found, 1.0 / np.log2(rank + 1.0), 0.0)


def metric_of(name: str) -> Metric:
    """``mrr_full_withheld`` as it is read out of ranks. Errors: `SluiceError` for a name of another form."""
    found = re.fullmatch(r"(mrr|recall@\d+|ndcg@\d+)_full_(withheld|persona)", name)
    if not found:
        raise SluiceError(
            f"gate: no metric {name!r}; write mrr, recall@K or ndcg@K, then _full_withheld or _full_persona"
        )
    name_of_set, where, _ = SETS[found[2]]
    score = partial(per_question, metric=found[1])
    return Metric(name, label(found[1]), where, "rank", score, only=Subset("set", name_of_set))
