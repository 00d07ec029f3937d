"""Is a written summary borne out by its source? Checks that need no model of their own."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from serving.highlights.text import STOP, split, words

Encode = Callable[[Sequence[str]], np.ndarray]
LEAST_WORDS = 0.6
"""Share of content words that the source must hold: a paraphrase has more, an invention 0.1 to 0.3."""
LEAST_COSINE = 0.45
"""Cosine of a sentence to its nearest source sentence: below, MiniLM sees another topic."""
_STEM = 6
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_NAME = re.compile(r"(?<=[^.!?] )[A-Z][\w’'-]{2,}")


class SummarySentence(NamedTuple):
    """A sentence of the summary, the number of the source sentence nearest to it, and their cosine (NaN: not asked)."""

    text: str
    source: int
    cosine: float


@dataclass(frozen=True)
class Support:
    """Shares (0..1) of the summary's content words, numbers and names that the source holds, and its sentences."""

    words: float
    numbers: float
    names: float
    sentences: list[SummarySentence]
    invented: list[str]
    """Numbers and names that the source does not hold."""

    @property
    def faithful(self) -> bool:
        """No invented number or name, enough of the source's words, and no sentence far from all of the source."""
        near = all(not said.cosine < LEAST_COSINE for said in self.sentences)
        return not self.invented and self.words >= LEAST_WORDS and near


def support(summary: str, source: Sequence[str], encode: Encode | None = None) -> Support:
    """How far ``source`` (sentences) bears out ``summary``.

    ``encode`` gives unit vectors [n, dim] (a bundle's ``embed``); without it sentences get no cosine. Numbers are
    compared as written; names are words with a capital inside a sentence. A summary of nothing is faithful.
    """
    whole = " ".join(source)
    known = {word[:_STEM] for word in words(whole)}
    content = [word for word in words(summary) if word not in STOP]
    numbers, names = set(_NUMBER.findall(summary)), set(_NAME.findall(summary))
    held = set(_NUMBER.findall(whole))
    invented = sorted(numbers - held) + sorted(n for n in names if n.lower()[:_STEM] not in known)
    lost = set(invented)
    return Support(
        sum(word[:_STEM] in known for word in content) / max(1, len(content)) if content else 1.0,
        1 - len(numbers & lost) / max(1, len(numbers)),
        1 - len(names & lost) / max(1, len(names)),
        _nearest([sentence.text for sentence in split(summary)], source, encode),
        invented,
    )


def _nearest(summary: list[str], source: Sequence[str], encode: Encode | None) -> list[SummarySentence]:
    if encode is None or not summary or not source:
        return [SummarySentence(text, -1, float("nan")) for text in summary]
    likeness = encode(summary) @ encode(source).T
    best = likeness.argmax(axis=1)
    return [SummarySentence(t, int(at), float(row[at])) for t, at, row in zip(summary, best, likeness, strict=True)]
