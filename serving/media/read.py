"""Recordings of any container that FFmpeg reads, through PyAV, as blocks of 16 kHz mono samples."""

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.errors import SluiceError

RATE = 16_000
Floats = npt.NDArray[np.float32]
Source = Path | str | bytes

FORMATS = "wav,w64,mp3,mov,mp4,m4a,ogg,flac,matroska,webm,aac,aiff,au,caf,amr,avi,asf,flv,mpeg,mpegts"
"""What is opened. Playlists (HLS, concat) are not: they would read other files and addresses on behalf of an upload."""

_GAP, _LONGEST_GAP, _MOST_GAPS = 0.1, 600.0, 4 * 3600.0
"""Seconds: gaps in the time stamps that count, that are believed, and that are filled in all."""


class NoMedia(SluiceError):
    """Not a recording: no format that is known, or no sound in it."""

    status = 415


@dataclass(frozen=True)
class Media:
    """What a container says of itself: seconds (NaN where it does not tell), Hz, channels, codec, picture or not."""

    duration_s: float
    sample_rate: int
    channels: int
    codec: str
    video: bool
    container: str


class Recording:
    """An open recording; a context manager, read once from start to end in bounded memory.

    ``media`` describes it. ``damaged`` is true once a part could not be decoded or it ended before its declared
    length: what could be read was given. Time 0 is the container's: sound that starts later is preceded by silence.
    """

    def __init__(self, source: Source) -> None:
        """Open a path or the bytes of a file. Errors: `NoMedia`; `SluiceError` for an absent or cut-off file."""
        self._name = "recording" if isinstance(source, bytes) else Path(source).name
        self._container = _open(source, self._name)
        audio = self._container.streams.audio
        if not audio:
            self._container.close()
            raise NoMedia(f"{self._name}: no sound in it; give a recording with an audio track")
        self._stream = self._container.streams.best("audio") or audio[0]
        self.media = _describe(self._container, self._stream)
        self.damaged = False
        self.seconds = 0.0

    def __enter__(self) -> "Recording":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def blocks(self, seconds: float = 30.0) -> Iterator[Floats]:
        """Samples float32 in [-1, 1], 16 kHz mono, ``seconds`` at a time (the last block may be shorter).

        All channels are mixed. Errors: `SluiceError` if nothing can be decoded at all.
        """
        size, held, count, given = round(seconds * RATE), [], 0, 0
        for part in self._parts():
            held.append(part)
            count += len(part)
            while count >= size:
                whole = np.concatenate(held)
                yield whole[:size]
                held, count, given = [whole[size:]], count - size, given + size
        if count:
            yield np.concatenate(held)
        self.seconds = (given + count) / RATE
        if not given + count:
            raise SluiceError(f"{self._name}: no sound could be decoded from it; it is empty or broken, send it again")
        self.damaged |= self.media.duration_s - self.seconds > max(1.0, 0.02 * self.seconds)

    def _parts(self) -> Iterator[Floats]:
        from av.audio.resampler import AudioResampler

        # Only for integers does FFmpeg scale a mix of many channels so that it cannot clip.
        resampler, origin = AudioResampler(format="s16", layout="mono", rate=RATE), self._origin()
        due = filled = 0.0
        for frame in self._frames():
            at = due if frame.time is None else frame.time - origin
            if _GAP < at - due < _LONGEST_GAP and filled < _MOST_GAPS:
                yield np.zeros(round((at - due) * RATE), np.float32)
                filled += at - due
                due = at
            due += frame.samples / frame.sample_rate
            frame.pts = None  # gaps are filled above; the resampler would take odd time stamps for its own business
            yield from (_samples(part) for part in resampler.resample(frame))
        if due:
            yield from (_samples(part) for part in resampler.resample(None))

    def _frames(self) -> Iterator[Any]:
        from av.error import FFmpegError

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError:
                self.damaged = True
                return
            try:
                yield from packet.decode()
            except FFmpegError:
                self.damaged = True

    def _origin(self) -> float:
        """The container's time 0: players count from its first stream, be it sound or picture."""
        return (self._container.start_time or 0) / 1e6


def probe(source: Source) -> Media:
    """What ``source`` (path or bytes) is, without decoding it. Errors: as `Recording`."""
    with Recording(source) as recording:
        return recording.media


def blocks(source: Source, seconds: float = 30.0) -> Iterator[Floats]:
    """Open ``source`` and yield its samples as `Recording.blocks` does."""
    with Recording(source) as recording:
        yield from recording.blocks(seconds)


def _open(source: Source, name: str) -> Any:
    import av
    from av.error import FFmpegError

    if not isinstance(source, bytes):
        path = Path(source)
        if not path.is_file():
            raise SluiceError(f"{path}: no such file; name a recording")
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(12)
    else:
        size, head = len(source), source[:12]
    if not size:
        raise NoMedia(f"{name}: the file is empty (0 bytes); send it again")
    opened: Any = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        return av.open(opened, options={"format_whitelist": FORMATS}, metadata_errors="ignore")
    except PermissionError:
        raise SluiceError(f"{name}: may not be read; check its permissions") from None
    except (FFmpegError, ValueError, OSError) as error:
        if head[4:8] == b"ftyp":
            raise SluiceError(
                f"{name}: cut off or broken: an MP4 keeps its index apart and this one has none; send it again"
            ) from None
        raise NoMedia(
            f"{name}: no recording of a known format ({error.__class__.__name__}); give an audio or video file"
        ) from None


def _describe(container: Any, stream: Any) -> Media:
    length = math.nan
    if stream.duration is not None and stream.time_base:
        length = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        length = container.duration / 1e6
    context = stream.codec_context
    pictures = [s for s in container.streams.video if not s.disposition & type(s.disposition).attached_pic]
    return Media(
        duration_s=length,
        sample_rate=context.sample_rate or 0,
        channels=context.channels or 0,
        codec=context.name,
        video=bool(pictures),
        container=container.format.name,
    )


def _samples(frame: Any) -> Floats:
    return frame.to_ndarray().reshape(-1).astype(np.float32) / 32768
