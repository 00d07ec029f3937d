"""Ranks of gold passages in full rankings, without sorting every passage for every question."""

from collections.abc import Sequence

import numpy as np

from serving.retrieval.ranker import Candidates


def gold_rows(ids: Sequence[str], gold: Sequence[Sequence[str]]) -> list[np.ndarray]:
    """Rows of each question's gold passages, int64; ids that the index lacks are left out."""
    row = {passage_id: at for at, passage_id in enumerate(ids)}
    return [np.asarray([row[passage_id] for passage_id in wanted if passage_id in row], np.int64) for wanted in gold]


def gold_ranks(scores: np.ndarray, gold: Sequence[np.ndarray]) -> np.ndarray:
    """1-based rank of the best gold row by ``scores`` [q, n], ties by row: int32 [q], n + 1 where there is none."""
    return np.asarray([_rank(line, rows) for line, rows in zip(scores, gold, strict=True)], np.int32)


def served_ranks(found: Candidates, scores: np.ndarray, dense: np.ndarray, gold: Sequence[np.ndarray]) -> np.ndarray:
    """Like `gold_ranks` for the served ranking: candidates by ``scores`` [q, c], then the rest by ``dense`` [q, n]."""
    result = np.empty(len(gold), np.int32)
    for at, rows in enumerate(gold):
        slots = np.flatnonzero(found.valid[at])
        mine = found.rows[at, slots]
        hits = np.flatnonzero(np.isin(mine, rows))
        if len(hits):
            order = np.argsort(-scores[at, slots], kind="stable")
            result[at] = 1 + np.flatnonzero(np.isin(order, hits))[0]
        else:
            rest = dense[at].copy()
            rest[mine] = np.inf
            result[at] = _rank(rest, rows)
    return result


def _rank(scores: np.ndarray, rows: np.ndarray) -> int:
    if not len(rows):
        return len(scores) + 1
    best = rows[np.lexsort((rows, -scores[rows]))[0]]
    return int(1 + (scores > scores[best]).sum() + (scores[:best] == scores[best]).sum())
