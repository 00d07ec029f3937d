"""Decoded frames of any shape as 16 kHz mono: the mix of all channels, or one where they cancel out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.media.levels import RATE

Shorts = npt.NDArray[np.int16]
CHANNELS, HERTZ = 64, (1_000, 1_000_000)
"""What is taken for sound: at most so many channels, and a rate from one to the other."""

_PIECE, _FADE = RATE // 2, RATE // 50
_LOST, _FOUND = 0.15, 0.22
"""Of the best channel's power: less of it in the mix means that channels cancel, more that they no longer do. Where
only one of two channels has sound, it is 0.25.
"""
_QUIET = 32768.0**2 * 1e-6
"""Power of -60 dBFS, below which nothing is decided."""
_LOUDER = 4.0


def sane(frame: Any) -> bool:
    """Whether a decoded frame is within `CHANNELS` and `HERTZ`."""
    return bool(HERTZ[0] <= frame.sample_rate <= HERTZ[1] and 1 <= frame.layout.nb_channels <= CHANNELS)


class Mixer:
    """Takes one track's frames in order, whatever their rate, channels and sample format, also when these change.

    The mix is FFmpeg's. Where it loses 8 dB or more against the loudest channel, as with a microphone that was wired
    with its poles swapped, that channel is given instead, decided every half a second and faded over 20 ms.
    ``cancelled``: seconds of that.
    """

    def __init__(self) -> None:
        self.cancelled = 0.0
        self._shape: tuple[str, str, int] | None = None
        self._mono: Any = None
        self._apart: Any = None
        self._usable: list[int] = []
        self._mixed = np.zeros(0, np.int16)
        self._channels = np.zeros((0, 0), np.int16)
        self._now: int | None = None  # the channel that is given; None: the mix

    def push(self, frame: Any) -> Iterator[Shorts]:
        """Samples int16 [n] that are ready after one more frame."""
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:
            yield from self.end()
            self._begin(frame)
            self._shape = shape
        frame.pts = None  # gaps are filled by the caller; the resampler would take odd time stamps for its own business
        yield from self._take(frame)

    def cut(self) -> Iterator[Shorts]:
        """What waits for a decision, before a gap that is filled with something else."""
        both = min(len(self._mixed), self._channels.shape[1])
        if both:
            yield self._decide(self._mixed[:both], self._channels[:, :both])
            self._keep(self._mixed[both:], self._channels[:, both:])

    def end(self) -> Iterator[Shorts]:
        """All that is left."""
        if self._shape is not None:
            yield from self._take(None)
            yield from self.cut()

    def _begin(self, frame: Any) -> None:
        from av.audio.resampler import AudioResampler
        from av.error import FFmpegError

        # Only for integers does FFmpeg scale a mix of many channels so that it cannot clip.
        self._mono, self._apart = AudioResampler(format="s16", layout="mono", rate=RATE), None
        names = [channel.name for channel in frame.layout.channels]
        if len(names) > 1:
            # Packed, for PyAV 18 reads beyond the eighth plane of a planar frame.
            self._apart = AudioResampler(format="s16", layout=frame.layout.name, rate=RATE)
            try:
                AudioResampler(format="s16", layout="mono", rate=RATE).resample(frame)
            except FFmpegError:
                self._mono = None  # it has no mix for as many: their mean is taken
        self._usable = [at for at, name in enumerate(names) if not name.startswith("LFE")] or [0]
        self._keep(np.zeros(0, np.int16), np.zeros((len(names), 0), np.int16))
        self._now = self._now if self._now in self._usable else None

    def _take(self, frame: Any) -> Iterator[Shorts]:
        mixed = [part.to_ndarray().reshape(-1) for part in self._mono.resample(frame)] if self._mono else []
        if self._apart is None:
            yield from mixed
            return
        count = len(self._channels)
        apart = [part.to_ndarray().reshape(-1, count).T for part in self._apart.resample(frame)]
        if self._mono is None:
            mixed = [np.round(part.mean(axis=0)).astype(np.int16) for part in apart]
        self._keep(np.concatenate([self._mixed, *mixed]), np.concatenate([self._channels, *apart], axis=1))
        while len(self._mixed) >= _PIECE and self._channels.shape[1] >= _PIECE:
            yield self._decide(self._mixed[:_PIECE], self._channels[:, :_PIECE])
            self._keep(self._mixed[_PIECE:], self._channels[:, _PIECE:])

    def _keep(self, mixed: Shorts, channels: Shorts) -> None:
        self._mixed, self._channels = mixed, channels

    def _decide(self, mixed: Shorts, channels: Shorts) -> Shorts:
        before = self._now
        self._now = self._best(mixed, channels)
        self.cancelled += 0.0 if self._now is None else len(mixed) / RATE
        after = mixed if self._now is None else channels[self._now]
        if before == self._now:
            return after
        old = (mixed if before is None else channels[before]).astype(np.float32)
        fade = np.minimum(np.arange(len(after), dtype=np.float32) / _FADE, 1)
        return np.round(old * (1 - fade) + after * fade).astype(np.int16)

    def _best(self, mixed: Shorts, channels: Shorts) -> int | None:
        powers = {at: _power(channels[at]) for at in self._usable}
        best = max(powers, key=lambda at: (powers[at], -at))
        if powers[best] < _QUIET:
            return self._now
        if _power(mixed) >= (_LOST if self._now is None else _FOUND) * powers[best]:
            return None
        return best if self._now is None or powers[best] > _LOUDER * powers[self._now] else self._now


def _power(samples: Shorts) -> float:
    return float(np.square(samples, dtype=np.float32).mean())
