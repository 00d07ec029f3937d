"""Documents as token ids with features, and the oracle's labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.common.encoder import Ids, TorchEncoder
from components.tasks.highlights.oracle import alone, oracle
from components.tasks.highlights.rouge import Reference, tokens
from components.tasks.highlights.tables import Document
from serving.highlights.features import of_texts
from serving.highlights.text import words

SOFTNESS = 0.15
"""Temperature of the soft half of the labels."""


@dataclass(frozen=True)
class Labelled:
    """One document with n sentences.

    ``ids`` tokens of each, ``features`` float32 [n, F] without the centroid, ``labels`` float32 [n] that sum to 1:
    half the oracle's choice, half a softmax over each sentence's own ROUGE; ``worth`` float32 [n] that own ROUGE,
    ``sizes`` words, ``stems`` for scoring, ``oracle`` sentence numbers.
    """

    ids: Ids
    features: np.ndarray
    labels: np.ndarray
    worth: np.ndarray
    sizes: list[int]
    stems: list[tuple[str, ...]]
    reference: Reference
    oracle: list[int]

    def rouge(self, chosen: Sequence[int]) -> tuple[float, float]:
        """ROUGE-1 and ROUGE-2 F1 of the chosen sentences."""
        return self.reference.score([stem for row in chosen for stem in self.stems[row]])


def labelled(documents: Sequence[Document], encoder: TorchEncoder) -> list[Labelled]:
    """Tokens, features and labels of documents."""
    return [_labelled(document, encoder) for document in documents]


def _labelled(document: Document, encoder: TorchEncoder) -> Labelled:
    texts = document.sentences
    best = oracle(texts, document.bullets)
    worth = np.asarray(alone(texts, document.bullets), np.float32)
    soft = np.exp((worth - worth.max()) / SOFTNESS)
    hard = np.zeros(len(texts), np.float32)
    hard[best or [int(worth.argmax())]] = 1
    return Labelled(
        encoder.tokenize(texts),
        of_texts(texts),
        np.asarray(hard / hard.sum() / 2 + soft / soft.sum() / 2, np.float32),
        worth,
        [len(words(text)) for text in texts],
        [tokens(text) for text in texts],
        Reference(document.bullets),
        best,
    )
