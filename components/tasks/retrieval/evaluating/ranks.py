"""Scores of rankings: pure functions on arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from components.common.scores import Floats

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
