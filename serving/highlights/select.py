"""From scores to bullets: the best sentences that do not repeat each other, within the length allowed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isqrt
from typing import Any

import numpy as np

from serving.highlights.features import standardised

SHORTEST = 4
"""Words a bullet needs, where some sentence has as many: "Okay, good." is no highlight."""


@dataclass(frozen=True)
class Selection:
    """The rules of choice: ``share`` of the document's words that bullets may take, ``redundancy`` how much a standard
    deviation of score must outweigh a cosine of 1 to a bullet already chosen; unless told otherwise ``most`` bullets of
    ``words`` words together: people write 112 about a meeting of an hour.
    """

    share: float = 0.3
    redundancy: float = 0.5
    most: int = 12
    words: int = 150

    def to_json(self) -> dict[str, Any]:
        """Plain values for head.json."""
        return asdict(self)

    def bullets(self, sentences: int) -> int:
        """Bullets for a document of ``sentences`` when nobody says: the square root, so 3 of 12 and 12 of 150 on."""
        return max(1, min(self.most, isqrt(sentences)))

    def room(self, words: int, asked: bool = False) -> int:
        """Words that bullets of a document of ``words`` may take; ``asked``: someone said how many bullets."""
        room = int(words * self.share)
        return room if asked else min(room, self.words)


def choose(
    scores: np.ndarray, vectors: np.ndarray, sizes: Sequence[int], rules: Selection, most: int | None = None
) -> list[int]:
    """Sentence numbers of the bullets, in the document's order; at least one if there is a sentence.

    Greedy maximal marginal relevance (Carbonell & Goldstein 1998): the next bullet has the highest standardised score
    less ``redundancy`` times its largest cosine to a bullet chosen before. In: ``scores`` [n], unit ``vectors`` [n,
    dim], ``sizes`` words of each sentence. The words of all bullets stay within the rules' room,
    except that a document too short for any gets its shortest good sentence.
    """
    if not len(scores):
        return []
    count = most or rules.bullets(len(scores))
    size = np.asarray(sizes, np.int64)
    room = rules.room(int(size.sum()), asked=most is not None)
    worth = standardised(scores).astype(np.float64)
    open_ = size >= min(SHORTEST, int(size.max()))
    if not (open_ & (size <= room)).any():
        return [int(np.argmax(np.where(open_, worth - 1e-3 * size, -np.inf)))]
    nearest = np.zeros(len(worth))
    chosen: list[int] = []
    while len(chosen) < count:
        able = open_ & (size <= room)
        if not able.any():
            break
        best = int(np.argmax(np.where(able, worth - rules.redundancy * nearest, -np.inf)))
        chosen.append(best)
        open_[best] = False
        room -= int(size[best])
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return sorted(chosen)
