"""Confidence: the probability that the first source is the right one (Platt scaling, 1999, on margin features)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

FEATURES = ("log_odds", "gap", "dense", "agreement")


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax over a question's candidates: float32 [q, c], 0 for slots at -inf."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)


def margins(scores: np.ndarray, features: np.ndarray) -> np.ndarray:
    """What confidence is judged by: float32 [q, 4] from ranker scores [q, c] and query features [q, c, 4].

    The log-odds that the softmax gives the first candidate (-8..8), its lead over the second (0..8), its cosine, and
    how many of the two retrievers also put it first.
    """
    rows = np.arange(len(scores))
    first = scores.argmax(axis=1)
    share = np.clip(probabilities(scores)[rows, first], 3.4e-4, 1 - 3.4e-4)
    if scores.shape[1] > 1:
        top = np.partition(scores, scores.shape[1] - 2, axis=1)
        gap = np.minimum(top[:, -1] - top[:, -2], 8.0)
    else:
        gap = np.full(len(scores), 8.0)
    at = features[rows, first]
    highest = features[:, :, 2:4].max(axis=1)
    agreement = ((at[:, 2:4] == highest) & (highest > 0)).sum(axis=1)
    return np.stack([np.log(share / (1 - share)), gap, at[:, 0], agreement], 1).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """Logistic ``weights`` [4] and ``bias`` over the `margins`; below ``threshold`` a retriever abstains."""

    weights: np.ndarray
    bias: float
    threshold: float

    def confidence(self, margin: np.ndarray) -> np.ndarray:
        """Probability that the first source is right: float32 [q]."""
        return np.asarray(1 / (1 + np.exp(-(margin @ self.weights + self.bias))), np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers beside the feature names, for ranker.json."""
        weights = np.asarray(self.weights).tolist()
        return {"features": list(FEATURES), "weights": weights, "bias": self.bias, "threshold": self.threshold}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        """What `to_json` gave. Errors: ValueError if the features are others than this code computes."""
        if tuple(data["features"]) != FEATURES:
            raise ValueError(f"calibration features {data['features']}, expected {list(FEATURES)}")
        return cls(np.asarray(data["weights"], np.float32), float(data["bias"]), float(data["threshold"]))
