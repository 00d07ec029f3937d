"""What may come next: Whisper's timestamp rules, suppressed tokens, hints; and how to tell that a text runs in circles.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022), section 4.5.
"""

import zlib
from collections.abc import Iterable, Sequence

import numpy as np

from serving.contract.bundle import SpeechSpec
from serving.transcription.mel import Floats

_FIRST_SECOND = 50
_HINT = 2.0
_LONGEST = 8


class Rules:
    """Changes logits in place before a token is chosen."""

    def __init__(self, speech: SpeechSpec, special: Iterable[int]) -> None:
        """``special``: tokens that are no text; of them only the end and timestamps may come out."""
        self._tokens = tokens = speech.tokens
        times = speech.vocab if tokens.timestamp_begin is None else tokens.timestamp_begin
        never = {at for at in special if at < times} | set(speech.suppress)
        self._never = np.asarray(sorted(never - {tokens.eot}), np.int64)
        self._first = np.asarray(speech.begin_suppress, np.int64)

    def apply(self, logits: Floats, said: Sequence[Sequence[int]], hints: Sequence[Sequence[list[int]]]) -> None:
        """In: logits [b, vocab]; each row's tokens so far; each row's hints. The row's rules for its next token."""
        logits[:, self._never] = -np.inf
        for row, (tokens, wanted) in enumerate(zip(said, hints, strict=True)):
            if not tokens:
                logits[row, self._first] = -np.inf
            if wanted:
                _favour(logits[row], tokens, wanted)
            if self._tokens.timestamp_begin is not None:
                self._times(logits[row], tokens, self._tokens.timestamp_begin)

    def _times(self, row: Floats, said: Sequence[int], begin: int) -> None:
        """Timestamps come in pairs, never go back, begin within a second, and come wherever one is likeliest."""
        if not said:
            row[:begin] = -np.inf
            row[begin + _FIRST_SECOND + 1 :] = -np.inf
            return
        last, before = said[-1] >= begin, len(said) < 2 or said[-2] >= begin
        if last and before:
            row[begin:] = -np.inf
        elif last:
            row[: self._tokens.eot] = -np.inf
        times = [token for token in said if token >= begin]
        if times:
            # A new time must come after the last; only the second of a pair may repeat the first.
            row[begin : times[-1] + (0 if last and not before else 1)] = -np.inf
        best = row[:begin].max()
        ahead = row[begin:]
        top = ahead.max()
        if np.isfinite(top) and top + np.log(np.exp(ahead - top).sum()) > best:
            row[:begin] = -np.inf


def _favour(row: Floats, said: Sequence[int], hints: Sequence[list[int]]) -> None:
    """Raise the first token of every hint, and the next one of each that has begun."""
    wanted = set()
    for hint in hints:
        wanted.add(hint[0])
        for length in range(1, min(len(hint), len(said) + 1)):
            if list(said[-length:]) == hint[:length]:
                wanted.add(hint[length])
    row[list(wanted)] += _HINT


def loop(tokens: Sequence[int]) -> int:
    """How many tokens at the end repeat what stands before them; 0 unless some run of 1 to 8 tokens came four times.

    A single token has to come eight times, for people do count and stutter.
    """
    for length in range(1, _LONGEST + 1):
        least = 8 if length == 1 else 4
        if len(tokens) < least * length:
            continue
        run, times = list(tokens[-length:]), 1
        while list(tokens[-length * (times + 1) : -length * times]) == run:
            times += 1
        if times >= least:
            return length * (times - 1)
    return 0


def compression(text: str) -> float:
    """How many times shorter zlib makes a text: above 2.4 it repeats itself."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0
