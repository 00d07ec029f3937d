"""The head: from a sentence's vector and features to one score; plain numpy, kept as head.json."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file
from serving.highlights.features import CENTROID, NAMES
from serving.highlights.select import Selection

NAME = "head.json"
DECIMALS = 6


@dataclass(frozen=True)
class Head:
    """Scores ``vectors @ by_vector + features @ by_feature + relu([vectors, features] @ inner + bias) @ out``.

    Shapes, float32: by_vector [dim], by_feature [F], inner [dim + F, h], bias [h], out [h]; h may be 0.
    """

    by_vector: np.ndarray
    by_feature: np.ndarray
    inner: np.ndarray
    bias: np.ndarray
    out: np.ndarray
    selection: Selection = Selection()

    @classmethod
    def untrained(cls, dim: int) -> "Head":
        """What a base encoder knows without training: a sentence near the document's centroid stands for it."""
        by_feature = np.zeros(len(NAMES), np.float32)
        by_feature[CENTROID] = 1.0
        width = dim + len(NAMES)
        nothing = np.zeros(0, np.float32)
        return cls(np.zeros(dim, np.float32), by_feature, np.zeros((width, 0), np.float32), nothing, nothing)

    def score(self, vectors: np.ndarray, features: np.ndarray) -> np.ndarray:
        """Scores float32 [n], higher is more worth keeping; ``vectors`` [n, dim] and ``features`` [n, F]."""
        scores = vectors @ self.by_vector + features @ self.by_feature
        if self.out.size:
            both = np.concatenate([vectors, features], axis=1)
            scores = scores + np.maximum(both @ self.inner + self.bias, 0) @ self.out
        return np.asarray(scores, np.float32)

    def write(self, directory: Path | str) -> None:
        """Write ``directory``/head.json."""
        arrays = {name: np.round(getattr(self, name).astype(float), DECIMALS).tolist() for name in _ARRAYS}
        told = {"features": list(NAMES), **arrays, "selection": self.selection.to_json()}
        with atomic_file(Path(directory) / NAME) as scratch:
            scratch.write_text(json.dumps(told) + "\n")

    @classmethod
    def read(cls, directory: Path | str) -> "Head":
        """Read ``directory``/head.json. Errors: `SluiceError` if it is missing or made for other features."""
        path = Path(directory) / NAME
        try:
            return cls.from_json(json.loads(path.read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SluiceError(f"{path}: not the head of this version ({error}); train and pack it again") from error

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Head":
        """What `write` wrote. Errors: ValueError if features or shapes are others than this code computes."""
        if tuple(told["features"]) != NAMES:
            raise ValueError(f"features {told['features']}, expected {list(NAMES)}")
        arrays = {name: np.asarray(told[name], np.float32) for name in _ARRAYS}
        width, hidden = len(arrays["by_vector"]) + len(NAMES), len(arrays["out"])
        arrays["inner"] = arrays["inner"].reshape(width, hidden)
        if len(arrays["by_feature"]) != len(NAMES) or len(arrays["bias"]) != hidden:
            raise ValueError("its arrays do not fit each other")
        return cls(**arrays, selection=Selection(**told["selection"]))


_ARRAYS = ("by_vector", "by_feature", "inner", "bias", "out")
