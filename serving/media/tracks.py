"""Which of several audio tracks is read: the one that players would, unless all that is said is on another."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from serving.media.levels import RATE, levels
from serving.media.mix import Mixer, sane

_BLOCK = 30 * RATE
_STAYS, _SWITCHES, _SHARE = 10.0, 60.0, 0.25
"""Seconds of sound after which the usual track stays and another is taken, and how much less it then must hold."""
_LEAST, _ABOVE, _STEADY = -60.0, 6.0, 0.1
"""dBFS from which a frame can be sound, decibels by which speech stands out from what its track always holds, and what
a second of the latter, such as hum, counts for.
"""
_ASIDE = ("comment", "hearing_impaired", "visual_impaired", "descriptions", "dependent", "clean_effects")


def choose(container: Any, tracks: Sequence[Any], usual: int, alive: Callable[[], None]) -> tuple[int, str]:
    """The place of the track to read among ``tracks``, and a sentence about it.

    Decodes all of them side by side until it is clear, at most to the end: one that holds less than a quarter of
    another's sound is left for it. Commentaries and the like count only where all else is silent.
    """
    from av.stream import Discard

    heard = [_Heard() for _ in tracks]
    rank = [usual] + [at for at in range(len(tracks)) if at != usual]
    place = {stream.index: at for at, stream in enumerate(tracks)}
    for other in container.streams:
        if other.index not in place:
            other.discard = Discard.all
    aside = [at for at in rank if at != usual and _is_aside(tracks[at])]
    main = [at for at in rank if at not in aside]
    for at, frame in _frames(container, place):
        if not heard[at].push(frame):
            continue
        alive()
        best = max(main, key=lambda at: heard[at].seconds)
        stays = heard[usual].seconds >= _SHARE * heard[best].seconds
        if heard[best].seconds >= _SWITCHES or (stays and heard[usual].seconds >= _STAYS):
            break
    for one in heard:
        one.end()
    chosen = _best(main, usual, heard)
    if not heard[chosen].seconds and aside:
        chosen = max(aside, key=lambda at: heard[at].seconds)
        chosen = chosen if heard[chosen].seconds else usual
    return chosen, _told(chosen, usual, heard)


def title(channels: int) -> str:
    """Channels in words."""
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")


def _best(places: Sequence[int], usual: int, heard: Sequence["_Heard"]) -> int:
    best = max(places, key=lambda at: heard[at].seconds)  # the first of equals
    return usual if heard[usual].seconds >= _SHARE * heard[best].seconds else best


def _told(chosen: int, usual: int, heard: Sequence["_Heard"]) -> str:
    others = [at for at in range(len(heard)) if at != chosen]
    loud = [str(at + 1) for at in others if heard[at].seconds > 1]
    text = f"{len(heard)} audio tracks, of which number {chosen + 1} was read"
    if chosen != usual:
        text += f" because number {usual + 1} is {'nearly ' if heard[usual].seconds else ''}silent"
    if loud:
        text += f"; number {' and '.join(loud)} hold{'s' if len(loud) == 1 else ''} sound too"
    return text


def _is_aside(stream: Any) -> bool:
    kind = type(stream.disposition)
    return any(bool(stream.disposition & getattr(kind, name)) for name in _ASIDE if hasattr(kind, name))


def _frames(container: Any, place: dict[int, int]) -> Any:
    from av.error import FFmpegError

    packets = container.demux([container.streams[index] for index in place])
    while True:
        try:
            packet = next(packets)
        except (StopIteration, IndexError, FFmpegError):
            return
        try:
            yield from ((place[packet.stream.index], frame) for frame in packet.decode() if sane(frame))
        except FFmpegError:
            continue


class _Heard:
    """Seconds of sound in one track so far."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._mixer, self._parts, self._count = Mixer(), [np.zeros(0, np.int16)], 0

    def push(self, frame: Any) -> bool:
        """Whether another block was judged."""
        for part in self._mixer.push(frame):
            self._parts.append(part)
            self._count += len(part)
        if self._count < _BLOCK:
            return False
        self._judge()
        return True

    def end(self) -> None:
        self._parts += self._mixer.end()
        self._judge()

    def _judge(self) -> None:
        samples = np.concatenate(self._parts)
        self._parts, self._count = [samples[:0]], 0
        if len(samples):
            values = levels(samples.astype(np.float32) / np.float32(32768))
            bar = max(_LEAST, float(np.sort(values)[len(values) // 10]) + _ABOVE)
            share = (1 - _STEADY) * float((values > bar).mean()) + _STEADY * float((values > _LEAST).mean())
            self.seconds += share * len(samples) / RATE
