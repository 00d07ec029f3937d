"""What FFmpeg reads of a recording, as messages: its description, its samples, silence between them, how it ended.

Runs where strangers' bytes can do no harm: see `serving.media.zygote`.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, BinaryIO

from serving.contract.errors import SluiceError
from serving.media.mix import CHANNELS, HERTZ
from serving.media.reading import Message, Reading, Rest
from serving.media.tracks import choose

FORMATS = "wav,w64,mp3,mov,mp4,m4a,ogg,flac,matroska,webm,aac,aiff,au,caf,amr,avi,asf,flv,mpeg,mpegts"
"""What is opened. Playlists (HLS, concat) are not: they would read other files and addresses on behalf of an upload."""
PROBE, COUNT, READ = b"P", b"C", b"R"
"""What may be asked: the description; it, with the length counted packet by packet; it, and the sound."""
MEDIA, ERROR = b"M", b"N"
"""Kinds of messages beside those of `serving.media.reading`: JSON of `Media` and ``notes``; JSON of an error."""

_STREAMS, _TRACKS = 256, 8


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

    container, guessed = _open(Rest(file))
    tracks = _tracks(container)
    stream = _best(container, tracks)
    notes: list[str] = []
    if len(tracks) > 1 and asked == READ:
        yield MEDIA, _about(_describe(container, stream, guessed), [])
        place, why = choose(container, tracks, tracks.index(stream), alive)
        notes.append(why)
        index = tracks[place].index
        container.close()
        container, guessed = _open(Rest(file))
        stream = container.streams[index]
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    media = _describe(container, stream, guessed)
    if asked == COUNT:
        media = Media(**asdict(media) | {"duration_s": _counted(container, stream, alive)})
    yield MEDIA, _about(media, notes)
    if asked == READ:
        yield from Reading(container, stream, file, _usual, alive).messages()


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


def _open(file: Rest) -> tuple[Any, bool]:
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


def _tracks(container: Any) -> list[Any]:
    tracks = [stream for stream in container.streams.audio if _sane(stream)][:_TRACKS]
    if not tracks:
        raise NoMedia(_lacking(container))
    return tracks


def _best(container: Any, tracks: list[Any]) -> Any:
    best = container.streams.best("audio")
    return best if best in tracks else tracks[0]


def _usual(file: Rest) -> tuple[Any, Any]:
    container, _ = _open(file)
    return container, _best(container, _tracks(container))


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
