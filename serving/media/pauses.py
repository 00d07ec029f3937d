"""Cut a stream of samples at pauses into stretches of bounded length, with exact offsets; silence is left out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.media.levels import FRAME, RATE, Floats, active, levels

Flags = npt.NDArray[np.bool_]
PER_SECOND = RATE // FRAME
_MARGIN = PER_SECOND // 5
_PAUSE = 3 * PER_SECOND // 10
_LONG = 2 * PER_SECOND
_AROUND = 30 * PER_SECOND
_SHORT_WINDOW = 10.0


@dataclass(frozen=True)
class Stretch:
    """Samples (16 kHz mono float32) that begin ``start`` seconds into the recording.

    ``heard``: from when to when there is sound, in seconds of the stretch; a little silence lies around it.
    """

    start: float
    samples: Floats
    heard: tuple[float, float]

    @property
    def end(self) -> float:
        """Seconds into the recording."""
        return self.start + len(self.samples) / RATE


def cut(blocks: Iterable[Floats], window_s: float, pack: bool | None = None) -> Iterator[Stretch]:
    """Stretches of at most ``window_s`` seconds, each around speech or other sound, in order and without overlap.

    With ``pack`` (default: for windows of 10 s and more) a stretch takes as much as fits and ends in a pause; without
    it, at the first pause of 0.3 s. Where no pause is, it ends at its quietest place; silence of 2 s and more is never
    inside. The result does not depend on the sizes of the blocks. What counts as sound is judged against the
    surrounding minute (see `levels.active`). Memory: about a minute of samples beside one block.
    """
    cutter = _Cutter(round(window_s * PER_SECOND), window_s >= _SHORT_WINDOW if pack is None else pack)
    for block in blocks:
        cutter.push(block)
        yield from cutter.ready()
    yield from cutter.ready(final=True)


class _Cutter:
    """Frames from ``_from`` on are kept as levels, from ``_at`` on as samples; both count from the very start."""

    def __init__(self, window: int, pack: bool) -> None:
        self._window, self._pack = window, pack
        self._from = self._at = 0
        self._levels = np.zeros(0, np.float32)
        self._samples = np.zeros(0, np.float32)
        self._rest = np.zeros(0, np.float32)

    def push(self, block: Floats) -> None:
        fresh = np.concatenate([self._rest, block])
        whole = len(fresh) // FRAME * FRAME
        self._rest = fresh[whole:]
        if whole:
            self._levels = np.concatenate([self._levels, levels(fresh[:whole])])
            self._samples = np.concatenate([self._samples, fresh[:whole]])

    def ready(self, final: bool = False) -> Iterator[Stretch]:
        if final and len(self._rest):
            self.push(np.zeros(FRAME - len(self._rest), np.float32))
        ahead = max(self._window, _AROUND) + _LONG
        while (left := self._from + len(self._levels) - self._at) and (final or left >= ahead):
            begin = self._at - self._from
            # Always the same frames around a place, however many are here already.
            sound = active(self._levels[max(0, begin - _AROUND) : begin + ahead])[min(begin, _AROUND) :]
            found = np.flatnonzero(sound)
            if not len(found):
                self._drop(min(left, ahead - _LONG))
                continue
            start = max(0, int(found[0]) - _MARGIN)
            length = self._length(sound[start:], self._levels[begin + start : begin + start + self._window])
            if start and len(sound) == ahead and start + length == ahead:
                self._drop(start)  # it may go on behind what was looked at: look again from here
                continue
            first = self._at + start
            inside = np.flatnonzero(sound[start : start + length])
            heard = (int(inside[0]) / PER_SECOND, (int(inside[-1]) + 1) / PER_SECOND)
            yield Stretch(first / PER_SECOND, self._samples[start * FRAME : (start + length) * FRAME].copy(), heard)
            self._drop(start + length)

    def _drop(self, frames: int) -> None:
        self._at += frames
        self._samples = self._samples[frames * FRAME :]
        spare = self._at - _AROUND - self._from
        if spare > 0:
            self._levels = self._levels[spare:]
            self._from += spare

    def _length(self, sound: Flags, values: Floats) -> int:
        """Frames of the next stretch, which begins at ``sound``'s first frame."""
        pauses = _pauses(sound)
        for begin, end in pauses:
            if begin + _MARGIN > self._window:
                break
            if end - begin >= (_LONG if self._pack else _PAUSE) or end == len(sound):
                return min(begin + _MARGIN, (begin + end) // 2 if end < len(sound) else end, self._window)
        if len(sound) <= self._window:
            return len(sound)
        late = [(begin, end) for begin, end in pauses if self._window // 2 <= (begin + end) // 2 <= self._window]
        if late:
            # A pause twice as long is worth a stretch that is up to half as short.
            begin, end = max(late, key=lambda pause: (pause[1] - pause[0]) * (pause[0] + pause[1]))
            return (begin + end) // 2
        calm = np.convolve(values, np.full(5, 0.2, np.float32), "same")
        late_half = self._window // 2
        return late_half + int(np.argmin(calm[late_half:-2])) if len(calm) > late_half + 2 else len(calm)


def _pauses(sound: Flags) -> list[tuple[int, int]]:
    """[begin, end) of every silence after the first sound, of 0.3 s or more, or at the end."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], sound, [True]]).astype(np.int8)))
    heard = int(np.argmax(sound))
    runs = [(int(begin), int(end)) for begin, end in edges.reshape(-1, 2) if begin > heard]
    return [run for run in runs if run[1] - run[0] >= _PAUSE or run[1] == len(sound)]
