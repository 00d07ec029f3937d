"""The answer: the best sentences of the top sources, chosen by vectors computed when the bundle was packed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.contract.errors import SluiceError
from serving.retrieval.text import sentences, words

SOURCES = 3
MOST = 3
_NEAR = 0.05
_SAME = 0.95
_SOURCE_WEIGHT = 0.3
_FIRST_WEIGHT = 0.15
_WORDS_WEIGHT = 0.4
_PROSE = 0.7


def passage_sentences(columns: Mapping[str, Sequence[Any]], most: int) -> tuple[list[str], np.ndarray]:
    """The prose sentences of every passage in order, and the row where each passage's begin: int32 [n + 1].

    Only sentences that stand in the passage's indexed text count (a long docstring continues in other passages), so an
    answer can always be found in the source it names. What is mostly brackets and quotes, such as a printed result, is
    no sentence.
    """
    texts: list[str] = []
    starts = [0]
    for doc, text in zip(columns["doc"], columns["text"], strict=True):
        squeezed = " ".join(text.split())
        texts.extend(sentence for sentence in sentences(doc, 4 * most) if sentence in squeezed and _is_prose(sentence))
        del texts[starts[-1] + most :]
        starts.append(len(texts))
    return texts, np.asarray(starts, np.int32)


def _is_prose(sentence: str) -> bool:
    return sum(c.isalpha() or c == " " for c in sentence) >= _PROSE * len(sentence)


class Answers:
    """Sentences of every passage with their vectors: float16 [m, dim], mapped from disk."""

    def __init__(self, texts: Sequence[str], starts: np.ndarray, vectors: np.ndarray) -> None:
        self.texts, self.starts, self.vectors = texts, starts, vectors

    def compose(
        self,
        query: np.ndarray,
        rarity: Mapping[str, float],
        rows: Sequence[int],
        shares: Sequence[float],
        fallback: Iterable[str],
    ) -> str:
        """One to three sentences that answer ``query`` (float32 [dim]) out of the passages ``rows``, best first.

        A sentence's score: its cosine, the share of the question's words it holds (``rarity``: their weights), its
        source's probability (``shares``), and something for opening its documentation, where people say what a thing
        is. The best sentence's source speaks first, others follow in their order; a sentence that is clearly less near
        than the best or repeats another is left out. Without any sentence: the first non-empty ``fallback`` line.
        """
        spans = [range(self.starts[row], self.starts[row + 1]) for row in rows]
        places = [(source, at) for source, span in enumerate(spans) for at in span]
        if not places:
            return next((line for line in fallback if line), "")
        vectors = np.concatenate([self.vectors[span.start : span.stop] for span in spans]).astype(np.float32)
        source = np.fromiter((place[0] for place in places), np.int64, len(places))
        first = np.asarray([at == spans[number].start for number, at in places], np.float32)
        held = np.asarray([_held(self.texts[at], rarity) for _, at in places], np.float32)
        scores = vectors @ query + _SOURCE_WEIGHT * np.asarray(shares, np.float32)[source]
        scores += _FIRST_WEIGHT * first + _WORDS_WEIGHT * held
        chosen: list[int] = []
        for at in np.argsort(-scores, kind="stable"):
            if len(chosen) == MOST or scores[at] < scores[chosen[0] if chosen else at] - _NEAR:
                break
            if not chosen or (vectors[chosen] @ vectors[at]).max() < _SAME:
                chosen.append(int(at))
        lead = source[chosen[0]]
        order = sorted(chosen, key=lambda at: (source[at] != lead, source[at], places[at][1]))
        return " ".join(self.texts[places[at][1]] for at in order)

    def save(self, directory: Path) -> None:
        """Write ``directory/{sentences.parquet,sentence_vectors.npy}``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        owner = np.repeat(np.arange(len(self.starts) - 1, dtype=np.int32), np.diff(self.starts))
        table = pa.table({"passage": owner, "text": list(self.texts)})
        pq.write_table(
            table.replace_schema_metadata({"passages": str(len(self.starts) - 1)}), directory / "sentences.parquet"
        )
        np.save(directory / "sentence_vectors.npy", self.vectors.astype(np.float16))

    @classmethod
    def open(cls, directory: Path) -> "Answers":
        """Read what `save` wrote. Errors: `SluiceError` if a part is missing."""
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(directory / "sentences.parquet")
            vectors = np.load(directory / "sentence_vectors.npy", mmap_mode="r")
            count = int((table.schema.metadata or {})[b"passages"])
        except (OSError, ValueError, KeyError) as error:
            raise SluiceError(f"{directory}: the sentences cannot be read ({error}); pack the bundle again") from error
        starts = np.searchsorted(table["passage"].to_numpy(), np.arange(count + 1)).astype(np.int32)
        return cls(table["text"].to_pylist(), starts, vectors)

    @classmethod
    def none(cls, count: int, dim: int) -> "Answers":
        """No sentences at all for ``count`` passages: answers fall back to a summary line."""
        return cls([], np.zeros(count + 1, np.int32), np.zeros((0, dim), np.float16))


def _held(sentence: str, rarity: Mapping[str, float]) -> float:
    """The share of the question's words, by weight, that the sentence holds."""
    own = set(words(sentence))
    return sum(weight for word, weight in rarity.items() if word in own) / max(sum(rarity.values()), 1e-9)
