"""Recordings made of tones and silence, for tests that need sound of a known shape."""

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 16_000
Part = tuple[float, np.ndarray]
CODECS = {".mp3": "mp3", ".m4a": "aac", ".mp4": "aac", ".ogg": "libopus", ".mkv": "aac", ".webm": "libopus"}


def sound(*parts: tuple[float, float]) -> np.ndarray:
    """(seconds, amplitude) one after another: a chord with a slow beat, or silence where the amplitude is 0."""
    pieces = []
    for seconds, amplitude in parts:
        t = np.arange(round(seconds * RATE)) / RATE
        chord = sum(np.sin(2 * np.pi * f * t) for f in (220, 330, 554)) / 3
        pieces.append(amplitude * chord * (0.7 + 0.3 * np.sin(2 * np.pi * 3 * t)))
    return np.concatenate(pieces).astype(np.float32)


def record(path: Path, samples: np.ndarray, rate: int = RATE, layout: str = "mono", later: float = 0.0) -> Path:
    """Write samples in the container that the name asks for; .mp4 gets a still picture too, ``later`` delays sound."""
    from av.audio.resampler import AudioResampler

    codec = CODECS.get(path.suffix, {".flac": "flac"}.get(path.suffix, "pcm_s16le"))
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=48_000 if codec == "libopus" else rate, layout=layout)
        picture = out.add_stream("mpeg4", rate=5, width=64, height=48) if path.suffix == ".mp4" else None
        context = stream.codec_context
        resampler = AudioResampler(format=context.format.name, layout=layout, rate=context.sample_rate)
        if picture:
            for at in range(int(5 * (later + len(samples) / rate))):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8))
                frame.pts, frame.time_base = at, Fraction(1, 5)
                out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
        channels = context.channels
        for at in range(0, len(samples), 8_000):
            part = np.repeat(samples[at : at + 8_000, None], channels, axis=1).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="flt", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, at + round(later * rate), Fraction(1, rate)
            for ready in resampler.resample(frame):
                out.mux(stream.encode(ready))
        for ready in resampler.resample(None):
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return path


def encode(
    codec: str,
    tracks: list[list[Part]],
    form: str,
    layout: str = "mono",
    rate: int = RATE,
    bit_rate: int = 0,
    **options: str,
) -> bytes:
    """Tracks of (start in seconds, samples [n] or [n, channels] at 16 kHz), as they would be in a file."""
    file = io.BytesIO()
    with av.open(file, "w", format=form, options=options) as out:
        streams = [out.add_stream(codec, rate=rate, layout=layout) for _ in tracks]
        for stream, parts in zip(streams, tracks, strict=True):
            if bit_rate:
                stream.bit_rate = bit_rate
            for start, samples in parts:
                resampler = av.AudioResampler(format=stream.format.name, layout=layout, rate=rate)
                sides = samples if samples.ndim == 2 else np.repeat(samples[:, None], stream.codec_context.channels, 1)
                frame = av.AudioFrame.from_ndarray(
                    np.ascontiguousarray(sides.astype(np.float32)).reshape(1, -1), format="flt", layout=layout
                )
                frame.sample_rate, frame.pts = RATE, 0
                count = 0
                for ready in [*resampler.resample(frame), *resampler.resample(None)]:
                    ready.pts, ready.time_base = round(start * rate) + count, Fraction(1, rate)
                    count += ready.samples
                    out.mux(stream.encode(ready))
            out.mux(stream.encode(None))
    return file.getvalue()
