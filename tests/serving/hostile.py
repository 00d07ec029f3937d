"""Small files that are made to do harm, or that lie about themselves, for tests that need such."""

import io
import struct
from fractions import Fraction

import numpy as np


def box(name: bytes, *parts: bytes) -> bytes:
    """A box of ISO 14496-12."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def huge_index(samples: int = 60_000_000) -> bytes:
    """An MP4 of a kilobyte whose sample table claims ``samples`` samples of one byte each."""
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    full = bytes(4)
    entry = box(b"mp4a", bytes(6), struct.pack(">HHHIHHHHI", 1, 0, 0, 0, 1, 16, 0, 0, 16_000 << 16))
    table = box(
        b"stbl",
        box(b"stsd", full, struct.pack(">I", 1), entry),
        box(b"stts", full, struct.pack(">III", 1, samples, 1024)),
        box(b"stsc", full, struct.pack(">IIII", 1, 1, samples // 1000, 1)),
        box(b"stsz", full, struct.pack(">II", 1, samples)),
        box(b"stco", full, struct.pack(">I", 1000), struct.pack(">1000I", *range(2000, 3000))),
    )
    data = box(b"dinf", box(b"dref", full, struct.pack(">I", 1), box(b"url ", struct.pack(">I", 1))))
    media = box(
        b"mdia",
        box(b"mdhd", full, struct.pack(">IIIIHH", 0, 0, 16_000, samples, 0, 0)),
        box(b"hdlr", full, struct.pack(">I4s", 0, b"soun"), bytes(13)),
        box(b"minf", box(b"smhd", full, bytes(4)), data, table),
    )
    head = box(b"tkhd", struct.pack(">I", 7), struct.pack(">5I", 0, 0, 1, 0, samples), bytes(16), matrix, bytes(8))
    moved = struct.pack(">IIIIIH", 0, 0, 16_000, samples, 0x10000, 0x100), bytes(10), matrix, bytes(24)
    movie = box(b"mvhd", full, *moved, struct.pack(">I", 2))
    return box(b"ftyp", b"isom", struct.pack(">I", 512), b"isom") + box(b"moov", movie, box(b"trak", head, media))


def pictures(tracks: int = 4, width: int = 16_000, height: int = 8_000) -> bytes:
    """A QuickTime file of sound, and tracks of one large but well packed picture each."""
    import zlib

    import av

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    rows = zlib.compress(bytes((width + 1) * height), 1)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    file = io.BytesIO()
    with av.open(file, "w", format="mov") as out:
        streams = [out.add_stream("png", rate=1, width=width, height=height, pix_fmt="gray") for _ in range(tracks)]
        sound = out.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for stream in streams:
            packet = av.Packet(png)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1)
            out.mux(packet)
        tone = (8000 * np.sin(np.arange(32_000) / 10)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 0, Fraction(1, 16_000)
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return file.getvalue()


def wav(channels: int, rate: int, bits: int, data: bytes = bytes(32_000), claimed: int | None = None) -> bytes:
    """A WAV whose header says what it is told, sensible or not; ``claimed``: bytes of sound that it promises."""
    align = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels & 0xFFFF, rate, rate * align & 0xFFFFFFFF, align & 0xFFFF, bits)
    size = len(data) if claimed is None else claimed
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + (struct.pack("<I", size) + data)
    )
