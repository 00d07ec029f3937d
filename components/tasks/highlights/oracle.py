"""The best that choosing sentences can do: labels for training, and the upper bound of an evaluation."""

from collections.abc import Sequence

from components.tasks.highlights.rouge import Reference, tokens
from serving.highlights.select import SHORTEST, Selection
from serving.highlights.text import words

CANDIDATES = 80
"""Sentences tried: those that share most with the reference on their own; a meeting has a thousand."""


def oracle(sentences: Sequence[str], bullets: Sequence[str], rules: Selection | None = None) -> list[int]:
    """Sentence numbers, sorted: greedily the one that raises ROUGE-1 + ROUGE-2 most, while one does.

    Nallapati et al. 2017 (SummaRuNNer); bound to the same numbers of bullets and words as the model's choice.
    """
    rules = rules or Selection()
    stems = [tokens(sentence) for sentence in sentences]
    sizes = [len(words(sentence)) for sentence in sentences]
    reference = Reference(bullets)
    alone = [sum(reference.score(stem)) for stem in stems]
    able = [i for i in range(len(sentences)) if alone[i] > 0 and sizes[i] >= SHORTEST]
    pool = sorted(able, key=lambda i: -alone[i])[:CANDIDATES]
    room, best = rules.room(sum(sizes)), 0.0
    chosen: list[int] = []
    while pool and len(chosen) < rules.bullets(len(sentences)):
        tried = [(_together(reference, stems, [*chosen, i]), -i) for i in pool if sizes[i] <= room]
        gain, at = max(tried, default=(0.0, 0))
        if gain <= best:
            break
        best = gain
        chosen.append(-at)
        pool.remove(-at)
        room -= sizes[-at]
    return sorted(chosen)


def _together(reference: Reference, stems: Sequence[Sequence[str]], rows: Sequence[int]) -> float:
    return sum(reference.score([stem for row in sorted(rows) for stem in stems[row]]))


def alone(sentences: Sequence[str], bullets: Sequence[str]) -> list[float]:
    """ROUGE-1 + ROUGE-2 of each sentence on its own (0..2)."""
    reference = Reference(bullets)
    return [sum(reference.score(tokens(sentence))) for sentence in sentences]
