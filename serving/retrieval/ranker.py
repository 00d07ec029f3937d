"""The ranker: one linear score over dense similarity, BM25 and the feature store's columns.

A candidate is a passage among the best 50 by dense score or by BM25. Its score is a weighted sum of raw, interpretable
features; the weights come from components/pack by softmax cross-entropy over a question's candidates (ListNet with
one relevant item, Cao et al. 2007). Served, the weights of passage features collapse into one number a passage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

DEPTH = 50
KINDS = ("function", "class", "method", "section", "commit", "issue")
QUERY_FEATURES = ("dense", "bm25", "dense_reciprocal_rank", "bm25_reciprocal_rank")
PASSAGE_FEATURES = (
    *(f"kind_{kind}" for kind in KINDS),
    "log_tokens", "documented", "log_age_days", "log_changes", "up_rate", "log_shown",
)  # fmt: skip
FEATURES = QUERY_FEATURES + PASSAGE_FEATURES

_RANK_OFFSET = 5.0
_PRIOR_VOTES = 4.0


class Candidates(NamedTuple):
    """At most 2 * DEPTH passages a question: ``rows`` int [q, c], ``valid`` bool [q, c], ``features`` [q, c, 4]."""

    rows: np.ndarray
    valid: np.ndarray
    features: np.ndarray


def best(scores: np.ndarray, count: int) -> np.ndarray:
    """Columns of the ``count`` highest scores of each row, best first, ties by column: int [q, min(count, n)]."""
    count = min(count, scores.shape[1])
    picked = np.sort(np.argpartition(scores, scores.shape[1] - count, axis=1)[:, scores.shape[1] - count :], axis=1)
    order = np.argsort(-np.take_along_axis(scores, picked, 1), axis=1, kind="stable")
    return np.take_along_axis(picked, order, 1)


def candidates(dense: np.ndarray, bm25: np.ndarray) -> Candidates:
    """Union of each question's best passages by dense score and by BM25, with the four query features.

    In: scores float32 [q, n]. ``bm25`` is divided by the question's highest; a reciprocal rank is 5 / (5 + rank), 0
    below rank 50 or, for BM25, where no word is shared.
    """
    by_dense, by_bm25 = best(dense, DEPTH), best(bm25, DEPTH)
    reciprocal = (_RANK_OFFSET / (_RANK_OFFSET + 1 + np.arange(by_dense.shape[1]))).astype(np.float32)
    dense_rank, bm25_rank = np.zeros_like(dense), np.zeros_like(bm25)
    np.put_along_axis(dense_rank, by_dense, reciprocal[None, :], 1)
    np.put_along_axis(bm25_rank, by_bm25, reciprocal[None, :] * (np.take_along_axis(bm25, by_bm25, 1) > 0), 1)
    rows = np.concatenate([by_dense, by_bm25], 1)
    features = np.stack([np.take_along_axis(table, rows, 1) for table in (dense, bm25, dense_rank, bm25_rank)], 2)
    valid = np.ones(rows.shape, bool)
    second = slice(by_dense.shape[1], None)
    valid[:, second] = (features[:, second, 2] == 0) & (features[:, second, 3] > 0)
    features[:, :, 1] /= np.maximum(bm25.max(axis=1), 1e-9)[:, None]
    return Candidates(rows, valid, features)


def passage_features(columns: Mapping[str, np.ndarray], day: int) -> np.ndarray:
    """Raw passage features float32 [n, 12] from the feature store's columns, as seen on ``day`` (days since 1970).

    The up rate is smoothed by four neutral votes; ages below zero count as 0.
    """
    kind = np.asarray(columns["kind"]).astype(str)
    number = {name: np.asarray(values, np.float64) for name, values in columns.items() if name != "kind"}
    votes = number["up"] + number["down"]
    parts = [
        *((kind == name) for name in KINDS),
        np.log1p(number["n_tokens"]),
        number["documented"],
        np.log1p(np.maximum(day - number["changed_day"], 0)),
        np.log1p(number["n_changes"]),
        (number["up"] + _PRIOR_VOTES / 2) / (votes + _PRIOR_VOTES),
        np.log1p(number["shown"]),
    ]
    return np.nan_to_num(np.stack(parts, 1).astype(np.float32))


@dataclass(frozen=True)
class Ranker:
    """Weights float32 [16] for standardised features: (raw clipped to low..high - mean) / scale, in `FEATURES` order.

    Passage features are clipped to the range seen at fitting, so that time passing or a flood of votes cannot carry a
    score to where no training example was.
    """

    weights: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def static(self, passages: np.ndarray) -> np.ndarray:
        """What passage features add to the score: float32 [...] from raw features [..., 12]."""
        part = slice(len(QUERY_FEATURES), None)
        clipped = np.clip(passages, self.low[part], self.high[part])
        return np.asarray((clipped - self.mean[part]) / self.scale[part] @ self.weights[part], np.float32)

    def score(self, found: Candidates, static: np.ndarray) -> np.ndarray:
        """Scores of the candidates, float32 [q, c], -inf where a slot is not valid; ``static`` [q, c] from `static`."""
        part = slice(0, len(QUERY_FEATURES))
        slope = self.weights[part] / self.scale[part]
        scores = found.features @ slope + static - float(self.mean[part] @ slope)
        return np.where(found.valid, scores, -np.inf).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain lists beside the feature names, for ranker.json."""
        return {"features": list(FEATURES), **{name: getattr(self, name).tolist() for name in self.__annotations__}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Ranker":
        """What `to_json` gave. Errors: ValueError if the features are others than this code computes."""
        if tuple(data["features"]) != FEATURES:
            raise ValueError(f"features {data['features']}, expected {list(FEATURES)}")
        return cls(**{name: np.asarray(data[name], np.float32) for name in cls.__annotations__})
