"""Recordings of any container that FFmpeg reads, through PyAV, as blocks of 16 kHz mono samples."""

import math
import tempfile
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from serving.contract.errors import SluiceError
from serving.media.decode import COUNT, MEDIA, PROBE, READ, Media, NoMedia
from serving.media.levels import RATE, Floats, active, decibels, levels
from serving.media.reading import SAMPLES, SILENCE, Message
from serving.media.sandbox import ask, leash, read_json

Source = Path | str | bytes


class TooLong(SluiceError):
    """A recording of more seconds than are taken (see `serving.media.sandbox.Leash`)."""

    status = 413


class Recording:
    """An open recording; a context manager, read once from start to end in bounded memory, decoded in a process apart.

    ``media`` describes it, ``notes`` are sentences about what was odd; both are final once it was read, for only then
    is it known which of several audio tracks speaks. ``damaged`` is true once a part could not be decoded or it ended
    before its declared length: what could be read was given. Time 0 is the container's: sound that starts later is
    preceded by silence.
    """

    def __init__(self, source: Source) -> None:
        """Open a path or the bytes of a file. Errors: `NoMedia`; `SluiceError` for an absent or cut-off file."""
        self._name = _name_of(source)
        held = leash()
        first, self._messages = (held and held.take(source)) or _begun(source)
        self.media, self.notes = _described(first)
        self.damaged = False
        self.seconds = 0.0

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self._messages.close()

    def blocks(self, seconds: float = 30.0) -> Iterator[Floats]:
        """Samples float32 in [-1, 1], 16 kHz mono, ``seconds`` at a time (the last block may be shorter).

        All channels are mixed. Errors: `SluiceError` if nothing can be decoded at all, or nothing more for a reason
        that is the file's; `TooLong`.
        """
        held = leash()
        most = (held.most if held else math.inf) * RATE
        size, parts, count, given = round(seconds * RATE), [], 0, 0
        for part in self._parts():
            parts.append(part)
            count += len(part)
            if given + count > most:
                raise TooLong(f"{self._name}: lasts over {most / RATE:g} s, and no more are taken, so cut it first")
            while count >= size:
                whole = np.concatenate(parts)
                yield whole[:size]
                parts, count, given = [whole[size:]], count - size, given + size
        if count:
            yield np.concatenate(parts)
        self.seconds = (given + count) / RATE
        if not given + count:
            raise SluiceError(f"{self._name}: no sound could be decoded from it; it is empty or broken, send it again")
        self.damaged |= self.media.duration_s - self.seconds > max(1.0, 0.02 * self.seconds)

    def _parts(self) -> Iterator[Floats]:
        for kind, body in self._messages:
            if kind == SAMPLES:
                yield np.frombuffer(body[: len(body) // 2 * 2], "<i2").astype(np.float32) / np.float32(32768)
            elif kind == SILENCE:
                left = int(read_json(body)["samples"])
                for at in range(0, left, 30 * RATE):
                    yield np.zeros(min(30 * RATE, left - at), np.float32)
            elif kind == MEDIA:
                self.media, self.notes = _described((kind, body))
            else:
                end = read_json(body)
                self.notes += map(str, end["notes"])
                self.damaged |= bool(end["damaged"])


@dataclass(frozen=True)
class Levels:
    """A whole recording: seconds of sound, RMS and peak in dBFS (a full-scale square wave is 0), and ``silence_share``,
    the share (0..1) of its 20 ms frames without voice or other sound above the background; ``damaged`` as `Recording`.
    """

    seconds: float
    loudness_dbfs: float
    peak_dbfs: float
    silence_share: float
    damaged: bool


def measure(source: Source) -> Levels:
    """Decode all of ``source`` once, in bounded memory. Errors: as `Recording`."""
    power, peak, count, silent, frames = 0.0, 0.0, 0, 0, 0
    with Recording(source) as recording:
        for block in recording.blocks():
            power += float(np.square(block, dtype=np.float64).sum())
            peak = max(peak, float(np.abs(block).max()))
            count += len(block)
            sound = active(levels(block))
            silent += int((~sound).sum())
            frames += len(sound)
        damaged = recording.damaged
    return Levels(count / RATE, decibels(math.sqrt(power / count)), decibels(peak), silent / max(frames, 1), damaged)


def probe(source: Source) -> Media:
    """What ``source`` (path or bytes) is, without decoding it. Errors: as `Recording`."""
    return _media(source, PROBE)


def length(source: Source, most: float) -> float:
    """Seconds that ``source`` claims to last; NaN where it does not tell, or where FFmpeg only guesses.

    A claim over ``most`` is not believed, but counted from the packets. Errors: as `Recording`.
    """
    held = leash()
    if held is None:
        claimed = probe(source).duration_s
    else:  # it will be read next
        first, rest = _begun(source)
        claimed = _described(first)[0].duration_s
        held.keep(source, first, rest)
    if claimed > most:
        counted = _media(source, COUNT).duration_s
        return counted if counted > most else math.nan
    return claimed


def blocks(source: Source, seconds: float = 30.0) -> Iterator[Floats]:
    """Open ``source`` and yield its samples as `Recording.blocks` does."""
    with Recording(source) as recording:
        yield from recording.blocks(seconds)


def _media(source: Source, asked: bytes) -> Media:
    with closing(_asked(source, asked)) as answers:
        return _described(next(answers))[0]


def _begun(source: Source) -> tuple[Message, Generator[Message]]:
    messages = _asked(source, READ)
    return next(messages), messages


def _described(message: tuple[bytes, bytes]) -> tuple[Media, list[str]]:
    kind, body = message
    if kind != MEDIA:
        raise NoMedia("its decoder broke down; convert it first")
    about = read_json(body)
    notes = [str(note) for note in about.pop("notes", [])]
    return Media(**about), notes


def _name_of(source: Source) -> str:
    return "recording" if isinstance(source, bytes) else Path(source).name


def _asked(source: Source, asked: bytes) -> Generator[Message]:
    """The decoder's messages, its errors under the file's name."""
    name = _name_of(source)
    with _opened(source, name) as file:
        try:
            yield from ask(file, asked)
        except SluiceError as error:
            raise type(error)(f"{name}: {error}") from None


def _opened(source: Source, name: str) -> BinaryIO:
    if isinstance(source, bytes):
        if not source:
            raise NoMedia(f"{name}: the file is empty (0 bytes); send it again")
        held = tempfile.TemporaryFile()  # noqa: SIM115
        held.write(source)
        held.seek(0)
        return held
    path = Path(source)
    if not path.is_file():
        raise SluiceError(f"{path}: no such file; name a recording")
    try:
        file = path.open("rb")
    except PermissionError:
        raise SluiceError(f"{name}: may not be read; check its permissions") from None
    if not path.stat().st_size:
        file.close()
        raise NoMedia(f"{name}: the file is empty (0 bytes); send it again")
    return file
