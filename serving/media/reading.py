"""One pass over one audio track: its samples in order, with silence where its time stamps leave gaps."""

import json
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, BinaryIO

import numpy as np

from serving.contract.errors import SluiceError
from serving.media.levels import RATE
from serving.media.mix import Mixer, Shorts, sane
from serving.media.tracks import title

Message = tuple[bytes, bytes]
SAMPLES, SILENCE, END = b"S", b"Z", b"E"
"""Kinds of messages: int16 samples; JSON of how many ``samples`` are silent; JSON of ``damaged`` and ``notes``."""

_BATCH, _AHEAD, _FAILURES = 2 * RATE, 32, 20_000
_CLOCKLESS = ("mp3", "aac", "amr", "amrnb", "amrwb")
"""Containers without time stamps: what FFmpeg makes up for them drifts once the rate has changed."""
_GAP, _LONG_GAP, _MOST_GAPS = 0.1, 60.0, 12 * 3600.0
"""Seconds: gaps in the time stamps that count, that a later stamp must confirm, and that are filled in all."""

Timed = tuple[Any, float | None]


class Reading:
    """Reads ``stream`` of ``container``, which was opened from ``file``.

    ``reopen`` opens what follows in a chained Ogg file, for FFmpeg ends where its channels change. ``alive`` is called
    whenever there is sound.
    """

    def __init__(
        self,
        container: Any,
        stream: Any,
        file: BinaryIO,
        reopen: Callable[["Rest"], tuple[Any, Any]],
        alive: Callable[[], None],
    ) -> None:
        self._container, self._stream, self._file, self._reopen = container, stream, file, reopen
        self._alive = alive
        self._due = self._filled = self._left_out = 0.0
        self._notes: list[str] = []
        self._damaged = False
        self._held: list[Shorts] = []

    def messages(self) -> Iterator[Message]:
        """`SAMPLES` and `SILENCE` in order, then `END`."""
        mixer = Mixer()
        shapes: set[tuple[int, int]] = set()
        for (frame, at), later in _ahead(self._frames()):
            gap = self._gap(at, later)
            if gap:
                yield from self._samples(mixer.cut(), all_of_them=True)
                yield SILENCE, json.dumps({"samples": round(gap * RATE)}).encode()
            self._due += frame.samples / frame.sample_rate
            shapes.add((frame.sample_rate, frame.layout.nb_channels))
            yield from self._samples(mixer.push(frame))
        yield from self._samples(mixer.end(), all_of_them=True)
        if len(shapes) > 1:
            told = ", ".join(f"{rate} Hz {title(channels)}" for rate, channels in sorted(shapes)[:4])
            self._notes.append(f"it changes on its way ({told})")
        if mixer.cancelled >= 1:
            self._notes.append(
                f"its channels cancel each other out for {mixer.cancelled:.0f} s: one was read alone there"
            )
        yield END, json.dumps({"damaged": self._damaged, "notes": self._notes[:20]}).encode()

    def _samples(self, parts: Iterable[Shorts], all_of_them: bool = False) -> Iterator[Message]:
        """Messages of a second or two each, for a codec's frames are a hundred times shorter."""
        self._held += parts
        count = sum(map(len, self._held))
        if count >= _BATCH or (count and all_of_them):
            self._alive()
            yield SAMPLES, np.concatenate(self._held).astype("<i2", copy=False).tobytes()
            self._held = []

    def _gap(self, at: float | None, later: float | None) -> float:
        """Seconds of silence before a frame, as its time tells and, for a long one, that of a later frame confirms."""
        if at is None:
            return 0.0
        gap = at - self._left_out - self._due
        if gap <= _GAP or (gap > _LONG_GAP and (later is None or later < at)):
            return 0.0
        if self._filled + gap > _MOST_GAPS:
            self._notes.append(
                f"its clock jumps by {gap / 3600:.1f} h at {self._due:.0f} s; over {_MOST_GAPS / 3600:g} h of gaps are "
                "not filled with silence, so what follows is told earlier by as much"
            )
            self._damaged = True
            self._left_out += gap
            return 0.0
        if gap > _LONG_GAP:
            self._notes.append(f"{gap:.0f} s without any sound from {self._due:.0f} s on are silence")
        self._filled += gap
        self._due += gap
        return gap

    def _frames(self) -> Iterator[Timed]:
        """Frames, each with its time in seconds, if it has any, over all files that are chained in this one."""
        container, stream, start, end = self._container, self._stream, 0, 0.0
        while container is not None:
            clock = _Clock(container, end)
            place = yield from self._of_one(container, stream, clock)
            chained, container, end = container.format.name == "ogg", None, clock.end
            if place is not None:
                start = _next_chain(self._file, start + place) if chained else 0
                if start:
                    try:
                        container, stream = self._reopen(Rest(self._file, start))
                    except SluiceError:
                        start = 0
                self._damaged |= not start

    def _of_one(self, container: Any, stream: Any, clock: "_Clock") -> Generator[Timed, None, int | None]:
        """Returns, where it broke off, the place of the last packet in the file."""
        from av.error import FFmpegError

        packets, failures, place = container.demux(stream), 0, 0
        while failures < _FAILURES:
            try:
                packet = next(packets)
            except StopIteration:
                return None
            except IndexError:  # from PyAV, at the end of a file in which streams came up later
                return None
            except FFmpegError:
                break
            place = packet.pos or place
            try:
                failures += 1
                for frame in packet.decode():
                    failures = 0
                    if sane(frame):
                        yield frame, clock.at(frame)
                    else:
                        self._damaged = True
            except FFmpegError:
                # Files that are joined hold the next one's tags in mid stream, which are no sound.
                if bytes(packet)[:3] not in (b"ID3", b"TAG", b"APE"):
                    self._damaged = True
                    clock.end += float((packet.duration or 0) * packet.time_base) if clock.counts else 0.0
        return place


class _Clock:
    """Times of one container's frames, from ``end`` on. ``counts``: whether frames are counted, not asked."""

    def __init__(self, container: Any, end: float) -> None:
        # Players count time from the container's first stream, be it sound or picture.
        self._base = end - (container.start_time or 0) / 1e6
        self._kind, self._rate = container.format.name, 0
        self.end, self.counts = end, self._kind in _CLOCKLESS

    def at(self, frame: Any) -> float | None:
        """Seconds; to be asked of every frame once, in order."""
        self._rate = self._rate or frame.sample_rate
        # FLAC's frames are numbered in samples of whatever rate the file began with.
        self.counts |= self._kind == "flac" and frame.sample_rate != self._rate
        at = self.end if self.counts else None if frame.time is None else frame.time + self._base
        self.end = (self.end if at is None else at) + frame.samples / frame.sample_rate
        return at


class Rest:
    """A file from some place on, as a file whose `seek` fails as FFmpeg expects: without an exception, by -1."""

    def __init__(self, file: BinaryIO, start: int = 0) -> None:
        self._file, self._start = file, start
        file.seek(start)

    def read(self, size: int = -1) -> bytes:
        """As of any file."""
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        try:
            return self._file.seek(offset + self._start if whence == 0 else offset, whence) - self._start
        except (OSError, ValueError, OverflowError):
            return -1

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell() - self._start


def _next_chain(file: BinaryIO, after: int) -> int:
    """Where the next Ogg stream begins behind ``after``; 0 if none does."""
    file.seek(after + 1)
    at, rest = after + 1, b""
    while piece := file.read(1 << 20):
        rest += piece
        found = rest.find(b"OggS\0")
        while 0 <= found <= len(rest) - 6:
            if rest[found + 5] & 2:
                return at + found
            found = rest.find(b"OggS\0", found + 1)
        at, rest = at + len(rest) - 5, rest[-5:]
    return 0


def _ahead(frames: Iterator[Timed]) -> Iterator[tuple[Timed, float | None]]:
    """Each frame with the time of one a little later, up to `_AHEAD` frames; the last one with None."""
    held: deque[Timed] = deque()
    for timed in frames:
        held.append(timed)
        if len(held) > _AHEAD:
            yield held.popleft(), timed[1]
    while held:
        timed = held.popleft()
        yield timed, held[-1][1] if held else None
