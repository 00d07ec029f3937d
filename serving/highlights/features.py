"""What the head sees of a sentence beside its vector: place, length, and how central it is to its document."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from serving.highlights.text import STOP, words

NAMES = (
    "place", "edge", "first", "last", "length", "long", "centroid", "central_words",
    "content", "shared", "number", "leaning", "name", "question", "personal", "document",
)  # fmt: skip
CENTROID = NAMES.index("centroid")
_NUMBERS = frozenset(
    re.findall(
        r"\w+",
        """zero one two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty sixty
    seventy eighty ninety hundred thousand million billion half third quarter twice percent""",
    )
)
_LEANING = frozenset(
    re.findall(
        r"\w+",
        """it he she they this that these those its his her their there one some others most""",
    )
)
_PERSONAL = frozenset(
    re.findall(
        r"\w+",
        """i me my mine myself""",
    )
)
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}")
_STEM = 5
"""Letters in which inflections of a word agree, roughly."""
_DIGIT = re.compile(r"\d")


def of_texts(texts: Sequence[str]) -> np.ndarray:
    """Features that need no vectors: float32 [n, len(NAMES)], column ``centroid`` 0.

    ``place`` -1..1 from first to last, ``edge`` its distance from the middle; ``first`` and ``last`` 1/(1 + distance);
    ``length`` the logarithm of the number of words, standardised within the document, ``long`` the same on a fixed
    scale; ``central_words`` the mean share that a sentence's content words have in the document (SumBasic, Nenkova &
    Vanderwende 2005), ``content`` their number, ``shared`` how many other sentences use too, all three standardised;
    ``number``, ``leaning`` (begins with a word that leans on what was said before), ``name``, ``question`` and
    ``personal`` 0 or 1 (English and digits);
    ``document`` the logarithm of the number of sentences on a fixed scale. Linear in the text's length.
    """
    count = len(texts)
    tokens = [words(text) for text in texts]
    sizes = np.log1p([len(t) for t in tokens])
    content = [[w for w in t if w not in STOP] for t in tokens]
    stems = [{word[:_STEM] for word in t} for t in content]
    spread = Counter(stem for t in stems for stem in t)
    at = np.arange(count)
    place = 2.0 * at / max(1, count - 1) - 1.0
    columns = {
        "place": place,
        "edge": np.abs(place),
        "first": 1.0 / (1 + at),
        "last": 1.0 / (count - at),
        "length": standardised(sizes),
        "long": sizes / 2 - 1,
        "centroid": np.zeros(count),
        "central_words": standardised(np.array(_shares(content))),
        "content": standardised(np.array([len(t) for t in content])),
        "shared": standardised(np.array([sum(spread[stem] > 1 for stem in t) for t in stems])),
        "leaning": [bool(t) and t[0] in _LEANING for t in tokens],
        "number": [bool(_DIGIT.search(text) or _NUMBERS & set(t)) for text, t in zip(texts, tokens, strict=True)],
        "name": [bool(_NAME.search(text)) for text in texts],
        "question": [text.rstrip().endswith("?") for text in texts],
        "personal": [bool(_PERSONAL & set(t)) for t in tokens],
        "document": np.full(count, np.log1p(count) / 4 - 1),
    }
    return np.stack([np.asarray(columns[name], np.float32) for name in NAMES], axis=1)


def _shares(content: Sequence[Sequence[str]]) -> list[float]:
    """Mean share of all content words that each sentence's words have; 0 for a sentence without any."""
    counts = Counter(word for words_ in content for word in words_)
    total = max(1, sum(counts.values()))
    return [sum(counts[w] for w in words_) / (len(words_) * total) if words_ else 0.0 for words_ in content]


def with_centroid(features: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """The features with column ``centroid``: cosine [n] of unit vectors [n, dim] to their mean, standardised."""
    mean = vectors.mean(axis=0)
    out = features.copy()
    out[:, CENTROID] = standardised(vectors @ (mean / max(float(np.linalg.norm(mean)), 1e-9)))
    return out


def standardised(values: np.ndarray) -> np.ndarray:
    """Zero mean and unit variance; zeros where all values are alike. float32 [n]."""
    values = np.asarray(values, np.float64)
    spread = values.std()
    return ((values - values.mean()) / spread if spread > 1e-9 else values * 0).astype(np.float32)
