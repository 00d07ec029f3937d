"""What FFmpeg reads of a recording, as messages: its description, its samples, silence between them, how it ended.

Runs where strangers' bytes can do no harm: see `serving.media.zygote`.
"""

import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, BinaryIO

import numpy as np

from serving.errors import SluiceError
from serving.media.levels import RATE
from serving.media.mix import CHANNELS, HERTZ, Mixer, Shorts, sane
from serving.media.tracks import choose, title

FORMATS = "wav,w64,mp3,mov,mp4,m4a,ogg,flac,matroska,webm,aac,aiff,au,caf,amr,avi,asf,flv,mpeg,mpegts"
"""What is opened. Playlists (HLS, concat) are not: they would read other files and addresses on behalf of an upload."""
PROBE, COUNT, READ = b"P", b"C", b"R"
"""What may be asked: the description; it, with the length counted packet by packet; it, and the sound."""
MEDIA, SAMPLES, SILENCE, END, ERROR = b"M", b"S", b"Z", b"E", b"N"
"""Kinds of messages: JSON of `Media` and ``notes``; int16 samples; their number as text; JSON; JSON of an error."""

_STREAMS, _TRACKS = 256, 8
_BATCH, _AHEAD, _FAILURES = 2 * RATE, 32, 20_000
_CLOCKLESS = ("mp3", "aac", "amr", "amrnb", "amrwb")
"""Containers without time stamps: what FFmpeg makes up for them drifts once the rate has changed."""
_GAP, _LONG_GAP, _MOST_GAPS = 0.1, 60.0, 12 * 3600.0
"""Seconds: gaps in the time stamps that count, that a later stamp must confirm, and that are filled in all."""

Message = tuple[bytes, bytes]


class NoMedia(SluiceError):
    """Not a recording: no format that is known, or no sound in it."""

    status = 415


@dataclass(frozen=True)
class Media:
    """What a container says of itself: seconds (NaN where it does not tell, or only guesses), Hz, channels, codec,
    picture or not, and the number of its audio track that is read, of how many.
    """

    duration_s: float
    sample_rate: int
    channels: int
    codec: str
    video: bool
    container: str
    track: int = 1
    tracks: int = 1


def messages(file: BinaryIO, asked: bytes, alive: Callable[[], None]) -> Iterator[Message]:
    """Answer one of `PROBE`, `COUNT`, `READ` about an open file; ``alive`` is called whenever work has brought sound.

    Errors: `NoMedia`, `SluiceError`, as sentences without the file's name.
    """
    from av.stream import Discard

    container, guessed = _open(file)
    tracks = [stream for stream in container.streams.audio if _sane(stream)][:_TRACKS]
    if not tracks:
        raise NoMedia(_lacking(container))
    best = container.streams.best("audio")
    stream, notes = best if best in tracks else tracks[0], []
    if len(tracks) > 1 and asked == READ:
        yield MEDIA, _about(_describe(container, stream, guessed), [])
        place, why = choose(container, tracks, tracks.index(stream), alive)
        notes.append(why)
        index = tracks[place].index
        container.close()
        file.seek(0)
        container, guessed = _open(file)
        stream = container.streams[index]
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    media = _describe(container, stream, guessed)
    if asked == COUNT:
        media = Media(**asdict(media) | {"duration_s": _counted(container, stream, alive)})
    yield MEDIA, _about(media, notes)
    if asked == READ:
        yield from _Reading(container, stream, alive).messages()


def _about(media: Media, notes: list[str]) -> bytes:
    return json.dumps(asdict(media) | {"notes": notes}).encode()


@cache
def _audio_codecs() -> str:
    import av

    names = []
    for name in sorted(av.codecs_available):
        with suppress(ValueError):
            names += [name] if av.Codec(name, "r").type == "audio" else []
    return ",".join(names)


def _open(file: BinaryIO) -> tuple[Any, bool]:
    """The container, and whether the length that it tells is FFmpeg's guess from the bit rate.

    No picture is decoded: only audio decoders may run. No other file or address is opened.
    """
    import av
    from av.logging import WARNING, Capture, set_level

    head = file.read(12)
    file.seek(0)
    options = {
        "format_whitelist": FORMATS, "codec_whitelist": _audio_codecs(), "protocol_whitelist": "none",
        "max_streams": str(_STREAMS),
    }  # fmt: skip
    try:
        set_level(WARNING)
        with Capture(local=False) as said:
            container = av.open(file, options=options, metadata_errors="ignore", buffer_size=1 << 16)
        set_level(None)
    except MemoryError:
        raise
    except Exception as error:  # PyAV raises of many classes for what it cannot read
        if head[4:8] == b"ftyp":
            raise SluiceError(
                "cut off or broken: an MP4 keeps its index apart and this one has none that can be read; send it again"
            ) from None
        name = error.__class__.__name__
        raise NoMedia(f"no recording of a known format ({name}); give an audio or video file") from None
    return container, any("duration from bitrate" in text for _, _, text in said)


def _sane(stream: Any) -> bool:
    context = stream.codec_context
    if context is None:
        return False
    low, high = HERTZ
    return (context.channels or 0) <= CHANNELS and (not context.sample_rate or low <= context.sample_rate <= high)


def _lacking(container: Any) -> str:
    for stream in container.streams.audio:
        context = stream.codec_context
        if context is None:
            return "its sound is of no known codec; give it as wav, mp3, m4a, ogg or flac"
        return (
            f"its header says {context.channels} channels at {context.sample_rate} Hz; "
            f"up to {CHANNELS} channels and {HERTZ[0]} to {HERTZ[1]} Hz are read"
        )
    return "no sound in it; give a recording with an audio track"


def _describe(container: Any, stream: Any, guessed: bool) -> Media:
    length = math.nan
    if stream.duration is not None and stream.time_base:
        length = float(stream.duration * stream.time_base)
    elif container.duration is not None:
        length = container.duration / 1e6
    context, audio = stream.codec_context, [s.index for s in container.streams.audio]
    pictures = [s for s in container.streams.video if not s.disposition & type(s.disposition).attached_pic]
    return Media(
        duration_s=math.nan if guessed and not context.name.startswith("pcm_") else length,
        sample_rate=context.sample_rate or 0,
        channels=context.channels or 0,
        codec=context.name,
        video=bool(pictures),
        container=container.format.name,
        track=audio.index(stream.index) + 1,
        tracks=len(audio),
    )


def _counted(container: Any, stream: Any, alive: Callable[[], None]) -> float:
    """Seconds of all packets, undecoded: a header may claim anything. NaN where they do not tell."""
    from av.error import FFmpegError

    seconds, number = 0.0, 0
    with suppress(FFmpegError):
        for packet in container.demux(stream):
            if packet.size:
                seconds += float((packet.duration or 0) * packet.time_base)
                number += 1
                if number % 10_000 == 0:
                    alive()
    return seconds if seconds > 0 else math.nan


class _Reading:
    """One pass over one track."""

    def __init__(self, container: Any, stream: Any, alive: Callable[[], None]) -> None:
        self._container, self._stream, self._alive = container, stream, alive
        # Players count time from the container's first stream, be it sound or picture.
        self._origin = (container.start_time or 0) / 1e6
        self._due = self._filled = self._lost = 0.0
        self._notes: list[str] = []
        self._damaged = False
        self._held: list[Shorts] = []

    def messages(self) -> Iterator[Message]:
        mixer = Mixer()
        shapes: set[tuple[int, int]] = set()
        for frame, following in _ahead(self._frames()):
            gap = self._gap(frame, following)
            if gap:
                yield from self._samples(mixer.cut(), all_of_them=True)
                yield SILENCE, str(round(gap * RATE)).encode()
            self._due += frame.samples / frame.sample_rate
            shapes.add((frame.sample_rate, frame.layout.nb_channels))
            yield from self._samples(mixer.push(frame))
        yield from self._samples(mixer.end(), all_of_them=True)
        if len(shapes) > 1:
            told = ", ".join(f"{rate} Hz {title(channels)}" for rate, channels in sorted(shapes)[:4])
            self._notes.append(f"it changes on its way ({told})")
        if mixer.cancelled:
            self._notes.append("its channels cancel each other out, so one of them was read alone where they do")
        yield END, json.dumps({"damaged": self._damaged, "notes": self._notes}).encode()

    def _samples(self, parts: Iterable[Shorts], all_of_them: bool = False) -> Iterator[Message]:
        """Messages of a second or two each, for a codec's frames are a hundred times shorter."""
        self._held += parts
        count = sum(map(len, self._held))
        if count >= _BATCH or (count and all_of_them):
            self._alive()
            yield SAMPLES, np.concatenate(self._held).astype("<i2", copy=False).tobytes()
            self._held = []

    def _gap(self, frame: Any, following: Any) -> float:
        """Seconds of silence before ``frame``, as its time stamp tells and, for a long one, a later stamp confirms."""
        clock = self._container.format.name not in _CLOCKLESS
        if clock and frame.time is None:
            return 0.0
        gap = frame.time - self._origin - self._due if clock else self._lost
        if gap <= _GAP:
            return 0.0
        self._lost = 0.0
        if clock and gap > _LONG_GAP and (following is None or following.time is None or following.time < frame.time):
            return 0.0
        if self._filled + gap > _MOST_GAPS:
            at, hours = self._due, gap / 3600
            self._notes.append(
                f"its clock jumps by {hours:.1f} h at {at:.0f} s; over {_MOST_GAPS / 3600:g} h of gaps are not "
                "filled with silence, so what follows is told earlier by as much"
            )
            self._damaged, self._origin = True, self._origin + gap
            return 0.0
        self._filled += gap
        self._due += gap
        if gap > _LONG_GAP:
            self._notes.append(f"{gap:.0f} s without any sound from {self._due - gap:.0f} s on are silence")
        return gap

    def _frames(self) -> Iterator[Any]:
        from av.error import FFmpegError

        packets, failures = self._container.demux(self._stream), 0
        while failures < _FAILURES:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError:
                self._damaged = True
                return
            try:
                failures += 1
                for frame in packet.decode():
                    failures = 0
                    if sane(frame):
                        yield frame
                    else:
                        self._damaged = True
            except FFmpegError:
                # Files that are joined hold the next one's tags in mid stream, which are no sound.
                if bytes(packet)[:3] not in (b"ID3", b"TAG", b"APE"):
                    self._damaged = True
                    self._lost += float((packet.duration or 0) * packet.time_base)


def _ahead(frames: Iterator[Any]) -> Iterator[tuple[Any, Any]]:
    """Each frame with one a little later, up to `_AHEAD` frames; the last one with None."""
    held: deque[Any] = deque()
    for frame in frames:
        held.append(frame)
        if len(held) > _AHEAD:
            yield held.popleft(), frame
    while held:
        frame = held.popleft()
        yield frame, held[-1] if held else None
