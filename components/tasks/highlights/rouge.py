"""ROUGE (Lin 2004) as rouge-score counts it, with Porter's stemmer; F1 against one reference."""

from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

PROTOCOL = "f_stem_1_ref"
"""F1, stemmed, one reference; it completes the metrics' names: rouge1_f_stem_1_ref, rouge2_…, rougeLsum_…."""


class Rouge(NamedTuple):
    """F1 in 0..1 over unigrams, bigrams, and the summary-level longest common subsequence (a bullet a line)."""

    rouge1: float
    rouge2: float
    rougeLsum: float

    @property
    def mean12(self) -> float:
        """Mean of ROUGE-1 and ROUGE-2."""
        return (self.rouge1 + self.rouge2) / 2


def rouge(bullets: Sequence[str], reference: Sequence[str]) -> Rouge:
    """Scores of bullets against the reference's bullets, by rouge-score's own code."""
    found = _scorer().score("\n".join(reference), "\n".join(bullets))
    return Rouge(*(float(found[name].fmeasure) for name in Rouge._fields))


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer(list(Rouge._fields), use_stemmer=True)


@cache
def _stemmer() -> Any:
    from nltk.stem.porter import PorterStemmer  # type: ignore[import-untyped]

    return PorterStemmer()


@lru_cache(maxsize=100_000)
def tokens(text: str) -> tuple[str, ...]:
    """rouge-score's stemmed tokens of a text; kept, as labels, oracle and scores each ask for the same sentences."""
    from rouge_score.tokenize import tokenize

    return tuple(tokenize(text, _stemmer()))


class Reference:
    """A reference whose n-grams are counted once: for the thousands of comparisons of training and of the oracle."""

    def __init__(self, bullets: Sequence[str]) -> None:
        """In: the reference's bullets."""
        whole = tokens("\n".join(bullets))
        self._grams = [(Counter(g), len(g)) for g in (_grams(whole, 1), _grams(whole, 2))]

    def score(self, candidate: Sequence[str]) -> tuple[float, float]:
        """ROUGE-1 and ROUGE-2 F1 of a candidate's stemmed tokens; the very numbers of `rouge`."""
        found = []
        for n, (wanted, total) in enumerate(self._grams, 1):
            grams = _grams(candidate, n)
            shared = sum(min(count, wanted[gram]) for gram, count in Counter(grams).items() if gram in wanted)
            found.append(2 * shared / (len(grams) + total) if shared else 0.0)
        return found[0], found[1]


def _grams(whole: Sequence[str], n: int) -> list[Any]:
    return list(whole) if n == 1 else list(zip(whole, whole[1:], strict=False))
