"""Confidence: the probability that the first source is the right one (Platt scaling, 1999, on what the ranking shows).

What it is fitted on compares a question's candidates with each other or with the question's words, so that it means
the same for another source and another encoder.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.retrieval.ranker import Candidates

FEATURES = ("log_odds", "coverage", "lead")
MARGINS = (*FEATURES, "gap", "dense", "agreement")
"""What `margins` computes; the last three are what bundles of earlier versions judge by, together with the log-odds."""

_NEAREST = 10


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax over a question's candidates: float32 [q, c], 0 for slots at -inf."""
    shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), np.float32)


def margins(scores: np.ndarray, found: Candidates, coverage: np.ndarray) -> np.ndarray:
    """What confidence is judged by, in the order of `MARGINS`: float32 [q, 6] from ranker scores [q, c].

    The log-odds that the softmax gives the first candidate (-8..8); ``coverage`` [q], the share of the question's words
    that it holds, by rarity; how far its cosine leads the tenth nearest passage's; its lead over the second score
    (0..8); its cosine; and how many of the two retrievers also put it first.
    """
    rows = np.arange(len(scores))
    first = scores.argmax(axis=1)
    share = np.clip(probabilities(scores)[rows, first], 3.4e-4, 1 - 3.4e-4)
    if scores.shape[1] > 1:
        top = np.partition(scores, scores.shape[1] - 2, axis=1)
        gap = np.minimum(top[:, -1] - top[:, -2], 8.0)
    else:
        gap = np.full(len(scores), 8.0)
    at = found.features[rows, first]
    near = slice(0, min(_NEAREST, scores.shape[1]))  # candidates begin with the nearest, best first
    tenth = np.where(found.valid[:, near], found.features[:, near, 0], np.inf).min(axis=1)
    lead = np.maximum(at[:, 0] - tenth, 0)
    highest = found.features[:, :, 2:4].max(axis=1)
    agreement = ((at[:, 2:4] == highest) & (highest > 0)).sum(axis=1)
    return np.stack([np.log(share / (1 - share)), coverage, lead, gap, at[:, 0], agreement], 1).astype(np.float32)


@dataclass(frozen=True)
class Calibration:
    """Logistic ``weights`` and ``bias`` over those `margins` that ``features`` names; it abstains below ``threshold``.

    Margins compare candidates with each other, so they cannot tell that all of them are far off: a question about
    cooking may have one clear winner. Below ``floor``, a cosine that practically every fitted question exceeds with its
    nearest passage, confidence therefore falls off with the eighth power of nearest / floor.
    """

    weights: np.ndarray
    bias: float
    threshold: float
    floor: float
    features: tuple[str, ...] = FEATURES

    def confidence(self, margin: np.ndarray, nearest: np.ndarray) -> np.ndarray:
        """Probability that the first source is right: float32 [q]; ``nearest``: highest cosine of any passage [q]."""
        judged = margin[:, [MARGINS.index(name) for name in self.features]]
        inside = 1 / (1 + np.exp(-(judged @ self.weights + self.bias)))
        return np.asarray(inside * np.clip(nearest / max(self.floor, 1e-6), 0, 1) ** 8, np.float32)

    def to_json(self) -> dict[str, Any]:
        """Plain numbers beside the feature names, for ranker.json."""
        weights = np.asarray(self.weights).tolist()
        numbers = {"bias": self.bias, "threshold": self.threshold, "floor": self.floor}
        return {"features": list(self.features), "weights": weights, **numbers}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Calibration":
        """What `to_json` gave, also in an earlier version. Errors: ValueError for features that this code lacks."""
        features, weights = tuple(data["features"]), np.asarray(data["weights"], np.float32)
        if not set(features) <= set(MARGINS) or len(features) != len(weights):
            raise ValueError(f"calibration features {list(features)}, this version knows {list(MARGINS)}")
        bias, threshold, floor = (float(data[name]) for name in ("bias", "threshold", "floor"))
        return cls(weights, bias, threshold, floor, features)
