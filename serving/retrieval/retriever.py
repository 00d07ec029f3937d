"""The retrieval predictor: questions in, cited answers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.bundle import Bundle

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Ranks:
    """Where the gold passages of q questions stand in the full ranking over all passages.

    ``best[retriever]``: int32 [q], 1-based rank of the best-placed gold passage, n + 1 if none is in the index;
    ``top[retriever]``: the ids of the first 5 passages of each question; retrievers are served, dense and bm25.
    ``confidence``: float32 [q], ``abstained``: bool [q], both of the served ranking.
    """

    best: dict[str, np.ndarray]
    top: dict[str, list[list[str]]]
    confidence: np.ndarray
    abstained: np.ndarray


class Retriever:
    """A bundle of task retrieval, opened (see `serving.task.Predictor`)."""

    bundle: Bundle

    @classmethod
    def open(cls, directory: Path, bundle: Bundle, variant: str | None = None, threads: int = 1) -> "Retriever":
        """Read every part of the bundle at ``directory``."""
        raise NotImplementedError

    def ranks(self, questions: Sequence[str], gold: Sequence[Sequence[str]], batch: int = 64) -> Ranks:
        """Full rankings of the questions, reduced to what an evaluation needs; memory grows with ``batch`` only."""
        raise NotImplementedError

    def reindex(self, passages: "pd.DataFrame") -> "Retriever":
        """Same encoder and ranker over other passages or texts (such as those of `withhold`); known texts are not encoded again."""
        raise NotImplementedError

    def predict(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer parsed instances."""
        raise NotImplementedError
