"""From decoded windows to segments: timestamps or pauses, sentence ends, words with times, confidence."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from serving.core.scripts import ENDS
from serving.transcription.decode import Said
from serving.transcription.rules import compression
from serving.transcription.vocabulary import Group, Vocabulary
from serving.transcription.words import spans, token_times

_PAUSE = 0.6
_LEAST_WORDS = 2
_TIME_STEP = 0.02
_LATE = 1.0
Piece = tuple[float, float, Group]


class Place(Protocol):
    """Where a window lies in its recording, how long it is, and where sound is in it; all in seconds."""

    @property
    def start(self) -> float:
        """From the recording's start."""

    @property
    def seconds(self) -> float:
        """Its length."""

    @property
    def heard(self) -> tuple[float, float]:
        """First and last sound, from the window's start."""


def segments_of(said: Said, vocabulary: Vocabulary, language: str, window: Place, words: bool) -> list[dict[str, Any]]:
    """Segments of what was said in one window.

    With ``words`` each lists its words, and ends with a sentence or at a pause of 0.6 s.
    """
    begin, start, seconds = vocabulary.speech.tokens.timestamp_begin, window.start, window.seconds
    pieces = [(*window.heard, (0, len(said.tokens)))] if begin is None else timed(said.tokens, begin, seconds)
    times = _times(said, begin, window) if words and said.alignment is not None else None
    found = []
    for piece in pieces:
        if times is None:
            found.append(_segment(said, vocabulary, piece, start, []))
            continue
        for part, listed in _split(said, vocabulary, language, piece, times):
            found.append(_segment(said, vocabulary, part, start, listed))
    return [segment for segment in found if segment["text"]]


def timed(tokens: Sequence[int], begin: int, seconds: float) -> list[Piece]:
    """Pieces between pairs of timestamp tokens: begin and end in seconds, and their tokens [first, last)."""
    pieces: list[Piece] = []
    opened, first = 0.0, 0
    for at, token in enumerate(tokens):
        if token < begin:
            continue
        moment = min((token - begin) * _TIME_STEP, seconds)
        if at > first:
            pieces.append((opened, moment, (first, at)))
        opened, first = moment, at + 1
    if first < len(tokens):
        pieces.append((opened, seconds, (first, len(tokens))))
    return pieces


def _times(said: Said, begin: int | None, window: Place) -> list[float]:
    """Begin of each token, and the end. Only text tokens take part; a timestamp token gets the next one's time.

    The path begins where the window does, and often leaves the last word early: the sound says more about both.
    """
    attention, count = said.alignment, len(said.tokens)
    assert attention is not None
    spoken = [at for at, token in enumerate(said.tokens) if begin is None or token < begin]
    if not spoken:
        return [0.0] * (count + 1)
    # The end was never predicted where the room was used up: the last row has to do.
    rows = [*spoken, min(count, attention.shape[1] - 1)]
    moments = np.maximum(token_times(attention[:, rows], window.seconds), window.heard[0])
    if 0 < window.heard[1] - moments[-1] < _LATE:
        moments[-1] = window.heard[1]
    return [float(moments[bisect_left(rows, at)]) if at < count else float(moments[-1]) for at in range(count + 1)]


def _split(
    said: Said, vocabulary: Vocabulary, language: str, piece: Piece, times: list[float]
) -> list[tuple[Piece, list[dict[str, Any]]]]:
    """A piece cut after sentence ends and at pauses, each part with its words (times in seconds of the window)."""
    begin, end, (first, last) = piece
    groups = vocabulary.words(said.tokens[first:last], language)
    placed = spans(times, [(first + a, first + b) for _, (a, b) in groups])
    parts: list[tuple[Piece, list[dict[str, Any]]]] = []
    listed: list[dict[str, Any]] = []
    opened = first
    for at, ((word, (a, b)), (left, right)) in enumerate(zip(groups, placed, strict=True)):
        left, right = min(max(left, begin), end), min(max(right, begin), end)
        likely = _confidence(said.logprobs[first + a : first + b])
        listed.append({"word": word, "start": left, "end": max(left, right), "confidence": likely})
        final = at + 1 == len(groups)
        pause = not final and placed[at + 1][0] - right >= _PAUSE
        if final or pause or (ENDS.search(word) and len(listed) >= _LEAST_WORDS):
            starts = begin if not parts else listed[0]["start"]
            parts.append(((starts, end if final else listed[-1]["end"], (opened, first + b)), listed))
            listed, opened = [], first + b
    return parts


def _segment(
    said: Said, vocabulary: Vocabulary, piece: Piece, start: float, words: list[dict[str, Any]]
) -> dict[str, Any]:
    begin, end, (first, last) = piece
    tokens = said.tokens[first:last]
    text = vocabulary.text(tokens).strip()
    moved = [{**word, "start": round(start + word["start"], 2), "end": round(start + word["end"], 2)} for word in words]
    return {
        "id": 0,
        "start": round(start + begin, 2),
        "end": round(start + max(begin, end), 2),
        "text": text,
        "confidence": _confidence(said.logprobs[first:last]),
        "no_speech": round(said.no_speech, 4),
        "words": moved,
        "tokens": tokens,
        "avg_logprob": round(said.mean_logprob, 4),
        "compression_ratio": round(compression(said.text), 3),
        "temperature": said.temperature,
    }


def _confidence(logprobs: Sequence[float]) -> float:
    return round(math.exp(sum(logprobs) / len(logprobs)), 4) if logprobs else 0.0
