"""Words of a sentence, and sentences of a text or of a transcript's segments."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from serving.core.scripts import ENDS, bigrams, join, signs, size, unspaced

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_ABBREVIATION = re.compile(r"(?:^|\W)(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|Fig)\.$")
_LONGEST = 60
"""Words after which text without any punctuation is cut."""
STOP = frozenset(
    re.findall(
        r"\w+",
        """
        a about after again all also an and any are as at be because been before but by can could did do
        does for from get go had has have he her here him his how i if in into is it its just like may
        me more most my no not now of on one only or other our out over said she so some such than that
        the their them then there these they this those to too up us very was we were what when where
        which while who why will with would yeah you your okay ok um uh mm hmm mean know think well
        right oh
        """,
    )
)
"""English words that say little of what a text is about; other languages simply have none of them."""


class Sentence(NamedTuple):
    """A sentence with its place in a recording, in seconds (None where there is no recording)."""

    text: str
    start: float | None = None
    end: float | None = None


def words(text: str) -> list[str]:
    """Lower-case words of ``text``, numbers included; pairs of signs where words have no blanks between them."""
    found = _WORD.findall(text.lower())
    return [word for run in found for word in (bigrams(run) if unspaced(run[0]) else [run])]


def split(text: str) -> list[Sentence]:
    """Sentences of a plain text: cut after punctuation or at a line's end, or after 60 words without either."""
    pieces = (Sentence(token) for line in text.splitlines() for token in _closed(signs(line)))
    return list(_joined(pieces))


def from_segments(segments: Sequence[Mapping[str, Any]]) -> list[Sentence]:
    """Sentences of a transcript's segments (``text``, ``start``, ``end``, perhaps ``words`` with their own times).

    Where the transcript has punctuation, sentences may run over several segments and a segment may hold several;
    without it every segment is one. Words without times of their own share their segment's by length.
    """
    punctuated = sum(bool(ENDS.search(str(s["text"]).strip())) for s in segments) * 4 >= len(segments)
    if not punctuated:
        return [_of(s) for s in segments if str(s["text"]).strip()]
    return list(_joined(piece for segment in segments for piece in _timed(segment)))


def _of(segment: Mapping[str, Any]) -> Sentence:
    return Sentence(" ".join(str(segment["text"]).split()), _seconds(segment, "start"), _seconds(segment, "end"))


def _seconds(row: Mapping[str, Any], name: str) -> float | None:
    return None if row.get(name) is None else float(row[name])


def _closed(tokens: list[str]) -> list[str]:
    """The tokens of one line, the last of them with an end mark for `_joined`."""
    return [*tokens[:-1], tokens[-1] + "\n"] if tokens else []


def _timed(segment: Mapping[str, Any]) -> Iterator[Sentence]:
    """The words of a segment with their times."""
    listed = segment.get("words") or []
    if listed and all({"word", "start", "end"} <= set(word) for word in listed):
        yield from (Sentence(str(w["word"]).strip(), _seconds(w, "start"), _seconds(w, "end")) for w in listed)
        return
    whole = _of(segment)
    size, at = max(1, len(whole.text)), 0
    for token in signs(whole.text):
        after = at + len(token) + 1
        if whole.start is None or whole.end is None:
            yield Sentence(token)
        else:
            span = whole.end - whole.start
            yield Sentence(token, whole.start + span * at / size, whole.start + span * min(1.0, after / size))
        at = after


def _joined(pieces: Iterator[Sentence]) -> Iterator[Sentence]:
    """Words to sentences."""
    held: list[Sentence] = []
    for piece in pieces:
        if not piece.text.strip():
            continue
        held.append(piece)
        text = piece.text.rstrip("\n")
        ends = ENDS.search(text) and not _ABBREVIATION.search(text)
        if ends or text != piece.text or len(held) >= _LONGEST and sum(size(p.text) for p in held) >= _LONGEST:
            yield _sentence(held)
            held = []
    if held:
        yield _sentence(held)


def _sentence(pieces: Sequence[Sentence]) -> Sentence:
    return Sentence(join(p.text.strip() for p in pieces), pieces[0].start, pieces[-1].end)
