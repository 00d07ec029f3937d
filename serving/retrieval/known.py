"""Vectors of texts that were encoded once already: the served ones, and the withheld ones that pack needed."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

_FILE = "withheld_vectors.npz"


class KnownVectors:
    """Lookup from text to vector over a bundle's index directory (``None``: nothing kept); serving never asks."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    def lookup(self, texts: Sequence[str], vectors: np.ndarray) -> Callable[[str], np.ndarray | None]:
        """A function from text to vector, over ``texts`` with their ``vectors`` and over those that `save` kept."""
        table = {_key(text): vector for text, vector in zip(texts, vectors, strict=True)}
        if self._directory is not None and (self._directory / _FILE).is_file():
            with np.load(self._directory / _FILE) as kept:
                table.update(zip(kept["keys"].tolist(), kept["vectors"], strict=True))
        return lambda text: table.get(_key(text))

    @staticmethod
    def save(directory: Path, texts: Sequence[str], vectors: np.ndarray) -> None:
        """Keep ``vectors`` (float32 [n, dim]) of ``texts`` in ``directory``: evaluation need not encode them again."""
        np.savez(directory / _FILE, keys=np.asarray([_key(text) for text in texts], "U32"), vectors=vectors)


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
