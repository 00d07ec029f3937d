"""Words of a transcript with their times, cleaned: Unicode, fillers; casing and punctuation are for `sentences`."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from serving.core.scripts import STOPS, signs

_FILLER = re.compile(r"(?:u+h*m+|u+h+|e+r+m*|a+h+|h+m+|mh+m*)", re.IGNORECASE)
_JOINERS = "\u200c\u200d"
_EDGE = re.compile(r"^\W+|\W+$")


@dataclass(frozen=True)
class Word:
    """One spoken word as written, its times in seconds of the recording, confidence 0..1; ``last`` of its segment.

    ``joined``: no blank stands before it in the transcript. In scripts without blanks a word is what the model took for
    one, often a single sign.
    """

    text: str
    start: float
    end: float
    confidence: float
    last: bool = False
    joined: bool = False


def words_of(segments: Iterable[Mapping[str, Any]]) -> list[Word]:
    """The words of a transcript's segments ({text, start, end, confidence, words}) in order, clean.

    A segment without word times gets them in proportion to the words' lengths.
    """
    out: list[Word] = []
    for segment in segments:
        given = segment.get("words")
        listed = given if given is not None and len(given) else spread(segment)
        joined = _joined(str(segment.get("text") or ""), [str(w["word"]).strip() for w in listed])
        found = [
            Word(_unicode(str(w["word"])), float(w["start"]), float(w["end"]), float(w["confidence"]), joined=near)
            for w, near in zip(listed, joined, strict=True)
        ]
        kept = without_fillers([word for word in found if word.text])
        out += kept[:-1] + [replace(word, last=True) for word in kept[-1:]]
    return out


def spread(segment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Words of a segment's text (signs where it has no blanks) with times in proportion to their letters."""
    texts = signs(str(segment["text"]))
    start, length = float(segment["start"]), float(segment["end"]) - float(segment["start"])
    total, done, out = sum(map(len, texts)) or 1, 0, []
    for text in texts:
        span = (start + length * done / total, start + length * (done + len(text)) / total)
        out.append({"word": text, "start": span[0], "end": span[1], "confidence": segment["confidence"]})
        done += len(text)
    return out


def _joined(text: str, words: Sequence[str]) -> list[bool]:
    """Which of the words follow the one before in ``text`` without a blank."""
    found, at = [], 0
    for word in words:
        begin = text.find(word, at)
        known = begin >= 0 and not text[at:begin].strip()
        found.append(known and begin == at > 0)
        at = begin + len(word) if known else at
    return found


def without_fillers(words: list[Word]) -> list[Word]:
    """Drop um, uh, er, hmm …; the full stop and the capital that a filler carried go to its neighbours.

    The time it took goes to the word before it, or it would count as a pause.
    """
    out: list[Word] = []
    opening = False
    for word in words:
        bare = _EDGE.sub("", word.text)
        if bare and _FILLER.fullmatch(bare) and not bare.isupper():  # ER and UH may be abbreviations
            opening = opening or bare[0].isupper()
            if out:
                stop = word.text[-1] if word.text[-1] in STOPS and out[-1].text[-1] not in STOPS else ""
                text = out[-1].text.rstrip(",;:") + stop if stop else out[-1].text
                out[-1] = replace(out[-1], text=text, end=max(out[-1].end, word.end))
            continue
        out.append(replace(word, text=word.text[:1].upper() + word.text[1:]) if opening else word)
        opening = False
    return out


def _unicode(text: str) -> str:
    """NFC, broken encodings mended (ftfy), no control characters but joiners, no white space inside."""
    if not text.isascii():
        import ftfy

        text = ftfy.fix_text(text, normalization="NFC", fix_character_width=False)
    return "".join(c for c in text if c in _JOINERS or (unicodedata.category(c)[0] != "C" and not c.isspace()))
