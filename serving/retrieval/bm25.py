"""BM25: bm25s computes the weights once, serving only adds them up.

bm25s (Lucene's variant, Kamphuis et al. 2020) stores every term's weight in every passage when it indexes. Scoring is
then a sum over the query's terms, which numpy does from the same arrays; so a server need not import bm25s, whose
numba costs half a second and 60 MB.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serving.contract.errors import SluiceError
from serving.retrieval.text import words

K1, B = 1.2, 0.75


class Bm25:
    """Weights of every term in n passages, by term (compressed columns)."""

    def __init__(
        self, size: int, vocabulary: dict[str, int], starts: np.ndarray, rows: np.ndarray, weights: np.ndarray
    ) -> None:
        self.size = size
        self._vocabulary, self._starts, self._rows, self._weights = vocabulary, starts, rows, weights

    @classmethod
    def build(cls, texts: Sequence[str]) -> "Bm25":
        """Index texts (one passage each)."""
        import bm25s

        tokens = [words(text) for text in texts]
        if not any(tokens):
            return cls(len(texts), {}, np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
        engine = bm25s.BM25(method="lucene", k1=K1, b=B)
        engine.index(tokens, show_progress=False)
        columns = engine.scores
        vocabulary = {str(word): int(column) for word, column in engine.vocab_dict.items()}
        return cls(
            len(texts),
            vocabulary,
            np.asarray(columns["indptr"], np.int64),
            np.asarray(columns["indices"], np.int32),
            np.asarray(columns["data"], np.float32),
        )

    def scores(self, questions: Sequence[str]) -> np.ndarray:
        """BM25 of every passage for every question: float32 [q, n], 0 where no word is shared."""
        result = np.zeros((len(questions), self.size), np.float32)
        for scores, question in zip(result, questions, strict=True):
            for word in dict.fromkeys(words(question)):
                column = self._vocabulary.get(word)
                if column is not None:
                    start, end = self._starts[column], self._starts[column + 1]
                    scores[self._rows[start:end]] += self._weights[start:end]
        return result

    def rarity(self, question: str) -> dict[str, float]:
        """Every word of the question with its inverse document frequency (Lucene's); unknown words weigh most."""
        weights = {}
        for word in words(question):
            column = self._vocabulary.get(word)
            holders = 0 if column is None else int(self._starts[column + 1] - self._starts[column])
            weights[word] = math.log1p((self.size - holders + 0.5) / (holders + 0.5))
        return weights

    def coverage(self, questions: Sequence[str], rows: np.ndarray) -> np.ndarray:
        """Share of each question's words that passages ``rows`` (int [q, c]) hold, by their `rarity`: float32 [q, c].

        A word that no passage holds counts as missing; a question without words is covered by nothing.
        """
        covered = np.zeros(rows.shape, np.float32)
        for at, question in enumerate(questions):
            weights = self.rarity(question)
            total = sum(weights.values())
            for word, weight in weights.items():
                column = self._vocabulary.get(word)
                if column is not None:
                    holds = np.zeros(self.size, bool)  # a twentieth of what np.isin takes
                    holds[self._rows[self._starts[column] : self._starts[column + 1]]] = True
                    covered[at] += weight / total * holds[rows[at]]
        return covered

    def save(self, directory: Path) -> None:
        """Write ``directory/{vocabulary.json,starts.npy,rows.npy,weights.npy}``."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "vocabulary.json").write_text(json.dumps({"size": self.size, "terms": self._vocabulary}))
        for name, array in (("starts", self._starts), ("rows", self._rows), ("weights", self._weights)):
            np.save(directory / f"{name}.npy", array)

    @classmethod
    def open(cls, directory: Path) -> "Bm25":
        """Read what `save` wrote. Errors: `SluiceError` if a part is missing."""
        try:
            head = json.loads((directory / "vocabulary.json").read_text())
            arrays = [np.load(directory / f"{name}.npy") for name in ("starts", "rows", "weights")]
        except (OSError, ValueError) as error:
            raise SluiceError(f"{directory}: the BM25 index cannot be read ({error}); pack the bundle again") from error
        return cls(head["size"], head["terms"], *arrays)
