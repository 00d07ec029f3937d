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
    """Logistic ``weights`` [4] and ``bias`` over the `margins`; below ``threshold`` a retriever abstains.

    Margins compare candidates with each other, so they cannot tell that all of them are far off: a question about
    cooking may have one clear winner. Below ``floor``, a cosine that practically every fitted question exceeds with its
    nearest passage, confidence therefore falls off with the eighth power of nearest / floor.
    """

    weights: np.ndarray
    bias: float
    threshold: float
    floor: float

    def confidence(self, margin: np.ndarray, nearest: np.ndarray) -> np.ndarray:
        """Probability that the first source is right: float32 [q]; ``nearest``: highest cosine of any passage [q]."""
        inside = 1 / (1 + np.exp(-(margin @ self.weights + self.bias)))
        return np.asarray(inside * np.clip(nearest / max(self.floor, 1e-6), 0, 1) ** 8, np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers beside the feature names, for ranker.json."""
        weights = np.asarray(self.weights).tolist()
        numbers = {"bias": self.bias, "threshold": self.threshold, "floor": self.floor}
        return {"features": list(FEATURES), "weights": weights, **numbers}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        """What `to_json` gave. Errors: ValueError if the features are others than this code computes."""
        if tuple(data["features"]) != FEATURES:
            raise ValueError(f"calibration features {data['features']}, expected {list(FEATURES)}")
        numbers = (float(data[name]) for name in ("bias", "threshold", "floor"))
        return cls(np.asarray(data["weights"], np.float32), *numbers)
