"""Words to sentences: where the transcript is punctuated by its marks, else by pauses and segment ends."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from components.segment.words import Word
from serving.core.scripts import ENDS, join, size, stop_of

_ABBREVIATION = re.compile(
    r"^(?:e\.g|i\.e|etc|cf|vs|resp|approx|fig|eq|no|dr|mr|mrs|ms|prof|st|[a-z])\.$", re.IGNORECASE
)
_I = re.compile(r"i(?:'(?:m|ll|ve|d))?")
_ASKING = frozenset(["what", "why", "how", "who", "where", "when", "which"])
_AUXILIARY = frozenset(
    [
        "is",
        "are",
        "was",
        "were",
        "do",
        "does",
        "did",
        "can",
        "could",
        "will",
        "would",
        "should",
        "has",
        "have",
        "had",
        "must",
        "may",
    ]
)
_PUNCTUATED = 1 / 40
"""Marks a word from which a transcript counts as punctuated: people speak 10 to 20 words a sentence."""


@dataclass(frozen=True)
class SpokenSentence:
    """Text with casing and punctuation, times in seconds of the recording, its number of words, mean confidence."""

    text: str
    start: float
    end: float
    words: int
    confidence: float


def sentences(words: Sequence[Word], pause_s: float = 0.3, max_words: int = 40) -> list[SpokenSentence]:
    """Group ``words`` into sentences, and write them as a person would where the transcript does not.

    Text that has punctuation or capitals keeps them. Bare lower-case words end a sentence at a pause of ``pause_s`` or
    at their segment's end, and get a capital, "I", and a full stop or question mark (no stop in a script without
    blanks). A sentence longer than ``max_words`` is cut at its longest pause; two signs of such a script are a word.
    """
    if not words:
        return []
    length = sum(size(word.text) for word in words)
    marked = sum(bool(ENDS.search(word.text)) for word in words) >= max(1, length * _PUNCTUATED)
    cased = any(c.isupper() for word in words for c in word.text)
    groups: list[list[Word]] = [[]]
    for at, word in enumerate(words):
        groups[-1].append(word)
        following = words[at + 1] if at + 1 < len(words) else None
        if following and (_ends(word, following, cased) if marked else _pauses(word, following, pause_s)):
            groups.append([])
    short = [part for group in groups for part in _shorten(group, max_words)]
    return [_write(group, marked, cased) for group in short]


def _ends(word: Word, following: Word, cased: bool) -> bool:
    if not ENDS.search(word.text) or _ABBREVIATION.match(word.text):
        return False
    first = following.text.lstrip("\"'([“‘")[:1]
    return not cased or not first.islower()


def _pauses(word: Word, following: Word, pause_s: float) -> bool:
    return word.last or following.start - word.end >= pause_s


def _shorten(group: list[Word], most: int) -> list[list[Word]]:
    if len(group) < 2 or sum(size(word.text) for word in group) <= most:
        return [group]
    low = len(group) // 4  # of two near pauses the one nearer to the middle leaves no stub
    cut = max(range(max(1, low), len(group) - low), key=lambda at: group[at].start - group[at - 1].end)
    return [*_shorten(group[:cut], most), *_shorten(group[cut:], most)]


def _write(group: list[Word], marked: bool, cased: bool) -> SpokenSentence:
    texts = [word.text for word in group]
    if not cased:
        texts = [text.capitalize() if _I.fullmatch(text.rstrip(".,?!")) else text for text in texts]
        texts[0] = texts[0][:1].upper() + texts[0][1:]
    if not marked and not ENDS.search(texts[-1]):
        asks = len(texts) > 2 and texts[0].lower() in _ASKING and texts[1].lower() in _AUXILIARY
        texts[-1] = texts[-1].rstrip(",;:") + ("?" if asks else stop_of(texts[-1]))
    mean = sum(word.confidence for word in group) / len(group)
    said = texts[0]
    for word, text in zip(group[1:], texts[1:], strict=True):
        said = said + text if word.joined else join((said, text))
    return SpokenSentence(said, group[0].start, max(word.end for word in group), len(group), mean)
