"""Recordings that are whole but odd: what they hold is read at its right time, and what was odd is said."""

import io
import math
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hostile import wav
from tones import RATE, encode, sound

from serving.contract.errors import SluiceError
from serving.media import Leash, Recording, blocks, cut, length, measure, probe

TALK = sound((0.5, 0), (2.0, 0.4), (0.5, 0), (1.5, 0.4), (0.5, 0))


def heard(source: Path | bytes) -> tuple[np.ndarray, Recording]:
    with Recording(source) as recording:
        return np.concatenate(list(recording.blocks())), recording


def starts(samples: np.ndarray) -> list[float]:
    return [round(stretch.start, 1) for stretch in cut([samples], 6.0)]


@pytest.mark.parametrize(
    ("form", "codec", "first", "second"),
    [
        ("mp3", "libmp3lame", (44_100, "mono"), (48_000, "mono")),
        ("mp3", "libmp3lame", (44_100, "stereo"), (44_100, "mono")),
        ("mp3", "libmp3lame", (48_000, "mono"), (22_050, "stereo")),
        ("adts", "aac", (44_100, "mono"), (48_000, "stereo")),
        ("mpegts", "mp2", (48_000, "stereo"), (32_000, "mono")),
    ],
)
def test_rate_and_channels_may_change_on_the_way(
    form: str, codec: str, first: tuple[int, str], second: tuple[int, str]
) -> None:
    parts = [encode(codec, [[(0, TALK)]], form, layout, rate) for rate, layout in (first, second)]
    samples, recording = heard(b"".join(parts))
    assert len(samples) / RATE == pytest.approx(10, abs=0.25)
    assert starts(samples) == pytest.approx([0.3, 2.8, 5.3, 7.8], abs=0.3)
    assert "changes on its way" in " ".join(recording.notes)
    assert np.abs(samples).max() < 0.6


@pytest.mark.parametrize(("form", "gap"), [("webm", 30.0), ("webm", 700.0), ("matroska", 2000.0)])
def test_a_gap_is_silence_and_later_words_keep_their_times(form: str, gap: float) -> None:
    data = encode("libopus", [[(0, TALK), (5 + gap, TALK)]], form, rate=48_000)
    samples, recording = heard(data)
    assert len(samples) / RATE == pytest.approx(10 + gap, abs=0.1)
    assert starts(samples) == pytest.approx([0.3, 2.8, 5.3 + gap, 7.8 + gap], abs=0.11)
    assert not recording.damaged
    assert ("without any sound" in " ".join(recording.notes)) == (gap > 60)


def test_chained_ogg_is_read_to_its_end_even_where_its_channels_change() -> None:
    layouts = ("mono", "stereo", "stereo", "mono")
    parts = [encode("libopus", [[(0, TALK)]], "ogg", layout, rate=48_000) for layout in layouts]
    samples, recording = heard(b"".join(parts))
    assert starts(samples) == pytest.approx([5 * n + at for n in range(4) for at in (0.3, 2.8)], abs=0.11)
    assert not recording.damaged


def test_sound_that_begins_eleven_minutes_after_the_picture_is_not_early() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as out:
        picture = out.add_stream("mpeg4", rate=1, width=64, height=48)
        stream = out.add_stream("flac", rate=RATE, layout="mono")
        still = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8))
        still.pts, still.time_base = 0, Fraction(1, 1)
        out.mux(picture.encode(still))
        out.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray((TALK * 32767).astype(np.int16).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 660 * RATE, Fraction(1, RATE)
        for ready in av.AudioResampler(format="s16", layout="mono", rate=RATE, frame_size=1024).resample(frame):
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    assert starts(heard(file.getvalue())[0]) == pytest.approx([660.3, 662.8], abs=0.11)


def test_a_clock_that_jumps_by_a_day_is_named_and_not_filled() -> None:
    data = encode("libopus", [[(0, TALK), (86_400, TALK), (86_410, TALK)]], "matroska", rate=48_000)
    samples, recording = heard(data)
    assert starts(samples) == pytest.approx([0.3, 2.8, 5.3, 7.8, 15.3, 17.8], abs=0.11)
    assert recording.damaged
    assert "jumps by 24.0 h at 5 s" in recording.notes[0]


def test_a_single_time_stamp_gone_wild_moves_nothing() -> None:
    data = bytearray(encode("mp2", [[(0, np.tile(TALK, 2))]], "mpegts", rate=48_000))
    places = [at + 9 for at in range(len(data) - 14) if data[at : at + 4] == b"\x00\x00\x01\xc0"]
    assert len(places) > 10
    at, clock = places[len(places) // 2], 5000 * 90_000  # MPEG-TS: 33 bits in three pieces, each before a marker
    data[at : at + 5] = struct.pack(">BHH", 0x21 | clock >> 29 & 14, clock >> 14 | 1, clock << 1 & 0xFFFF | 1)
    samples, _ = heard(bytes(data))
    assert len(samples) / RATE == pytest.approx(10, abs=0.2)
    assert starts(samples) == pytest.approx([0.3, 2.8, 5.3, 7.8], abs=0.15)


def test_a_length_that_is_only_guessed_is_not_believed() -> None:
    quiet = np.random.default_rng(0).normal(0, 1e-4, 20 * RATE)
    bare = {"write_xing": "0", "id3v2_version": "0"}
    low = encode("libmp3lame", [[(0, quiet)]], "mp3", rate=44_100, bit_rate=32_000, **bare)
    high = encode("libmp3lame", [[(0, np.tile(TALK, 12))]], "mp3", rate=44_100, bit_rate=320_000, **bare)
    for data, seconds in ((low + high, 80), (encode("aac", [[(0, np.tile(TALK, 4))]], "adts"), 20)):
        media = probe(data)
        assert math.isnan(media.duration_s)
        assert math.isnan(length(data, 100))
        samples, recording = heard(data)
        assert len(samples) / RATE == pytest.approx(seconds, abs=0.2)
        assert not recording.damaged


def test_a_length_that_is_claimed_but_not_there_refuses_nothing_and_a_true_one_is_known() -> None:
    true = encode("flac", [[(0, TALK)]], "flac", rate=RATE)
    assert [length(true, most) for most in (4.0, 40.0)] == pytest.approx([5, 5])
    # 36 bits of STREAMINFO, after 4 + 4 + 13 bytes and 4 bits, count the samples
    lies = true[:21] + bytes([true[21] | 0x0F]) + struct.pack(">I", 0xFFFFFFFF) + true[26:]
    assert probe(lies).duration_s > 1e6
    assert math.isnan(length(lies, 4 * 3600.0)) or length(lies, 4 * 3600.0) < 10
    assert len(heard(lies)[0]) == len(TALK)


def test_what_lasts_too_long_is_refused_while_it_is_read_even_if_it_is_a_gap() -> None:
    data = encode("libopus", [[(0, TALK), (3600, TALK)]], "matroska", rate=48_000)
    with pytest.raises(SluiceError, match="over 60 s"):
        Leash(60).run(lambda: list(blocks(data)))
    assert Leash(3700).run(lambda: sum(map(len, blocks(data)))) == pytest.approx(3605 * RATE, abs=RATE)


def test_subtitles_a_cover_and_a_picture_beside_the_sound_do_no_harm() -> None:
    file, lines = io.BytesIO(), io.BytesIO(b"1\n00:00:00,500 --> 00:00:01,000\nhello\n")
    with av.open(lines, format="srt") as said, av.open(file, "w", format="matroska") as out:
        sound_stream = out.add_stream("aac", rate=RATE, layout="mono")
        text = out.add_stream_from_template(said.streams[0])
        cover = out.add_stream("mjpeg", rate=1, width=64, height=64, pix_fmt="yuvj420p")
        picture = out.add_stream("mpeg4", rate=1, width=64, height=48)
        for stream, height in ((cover, 64), (picture, 48)):
            still = av.VideoFrame.from_ndarray(np.full((height, 64, 3), 90, np.uint8))
            still.pts, still.time_base = 0, Fraction(1, 1)
            out.mux(stream.encode(still))
            out.mux(stream.encode(None))
        for packet in said.demux():
            packet.stream = text
            if packet.size:
                out.mux(packet)
        frame = av.AudioFrame.from_ndarray(TALK.reshape(1, -1), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for ready in av.AudioResampler(format="fltp", layout="mono", rate=RATE, frame_size=1024).resample(frame):
            out.mux(sound_stream.encode(ready))
        out.mux(sound_stream.encode(None))
    samples, recording = heard(file.getvalue())
    assert starts(samples) == pytest.approx([0.3, 2.8], abs=0.11)
    assert recording.media.video and not recording.damaged and not recording.notes


SILENT, HUM = np.zeros_like(TALK), 0.01 * np.sin(np.arange(len(TALK)) / 25)
PING = np.concatenate([0.5 * np.sin(np.arange(3200) / 3), np.zeros(len(TALK) - 3200)])


@pytest.mark.parametrize("form", ["matroska", "mp4"])
@pytest.mark.parametrize(
    ("tracks", "read"),
    [
        ([SILENT, TALK], 2),
        ([HUM, TALK], 2),
        ([SILENT, SILENT, TALK], 3),
        ([PING, TALK], 2),
        ([SILENT, HUM], 2),
        ([TALK, SILENT], 1),
        ([TALK, 0.9 * TALK], 1),
        ([SILENT, SILENT], 1),
    ],
)
def test_of_several_tracks_the_one_that_speaks_is_read_and_named(
    form: str, tracks: list[np.ndarray], read: int
) -> None:
    samples, recording = heard(encode("aac", [[(0, np.tile(track, 2))] for track in tracks], form, "stereo"))
    assert recording.media.track == read
    assert f"{len(tracks)} audio tracks, of which number {read} was read" in recording.notes[0]
    wanted = np.tile(tracks[read - 1], 2)
    assert np.sqrt((samples**2).mean()) == pytest.approx(np.sqrt((wanted**2).mean()), rel=0.15, abs=1e-4)


def test_a_second_track_with_sound_of_its_own_is_named_too() -> None:
    _, recording = heard(encode("aac", [[(0, TALK)], [(0, np.flip(TALK))]], "matroska"))
    assert recording.notes == ["2 audio tracks, of which number 1 was read; number 2 holds sound too"]


@pytest.mark.parametrize(("form", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp4", "aac")])
@pytest.mark.parametrize("balance", [1.0, 0.9])
def test_stereo_whose_sides_cancel_is_heard(form: str, codec: str, balance: float) -> None:
    sides = np.stack([TALK, -balance * TALK], axis=1)
    samples, recording = heard(encode(codec, [[(0, sides)]], form, "stereo"))
    assert starts(samples) == pytest.approx([0.3, 2.8], abs=0.11)
    assert np.sqrt((samples**2).mean()) == pytest.approx(np.sqrt((TALK**2).mean()), rel=0.1)
    assert "cancel each other out" in recording.notes[0]
    assert measure(encode(codec, [[(0, sides)]], form, "stereo")).silence_share < 0.5


def test_noise_that_both_sides_share_hides_no_speech_that_they_do_not() -> None:
    noise = np.random.default_rng(0).normal(0, 0.35 * np.sqrt((TALK**2).mean()), len(TALK))
    sides = np.stack([noise + TALK, noise - TALK], axis=1)
    samples, _ = heard(encode("flac", [[(0, sides)]], "flac", "stereo"))
    assert abs(np.corrcoef(samples[RATE // 2 : 2 * RATE], TALK[RATE // 2 : 2 * RATE])[0, 1]) > 0.9


def test_sides_that_cancel_for_a_while_are_joined_without_a_click() -> None:
    t = np.arange(6 * RATE) / RATE
    tone = (0.4 * np.sin(2 * np.pi * 200 * t)).astype(np.float32)
    sign = np.where((t > 2) & (t < 4), -1, 1)
    samples, _ = heard(encode("pcm_s16le", [[(0, np.stack([tone, sign * tone], axis=1))]], "wav", "stereo"))
    settled = (np.abs(t - 2) > 0.5) & (np.abs(t - 4) > 0.5)
    assert np.abs(samples - tone)[settled].max() < 1e-3
    assert np.abs(np.diff(samples)).max() < 1.1 * np.abs(np.diff(tone)).max()


def test_sides_that_do_not_cancel_are_mixed_as_ever() -> None:
    rng = np.random.default_rng(0)
    left, right = (np.tile(TALK, 2) * 0.5 + rng.normal(0, 0.02, 2 * len(TALK)) for _ in range(2))
    for sides in ((left, right), (left, 0 * left), (left, 0.3 * left)):
        data = encode("pcm_s16le", [[(0, np.stack(sides, axis=1))]], "wav", "stereo")
        samples, recording = heard(data)
        assert not recording.notes
        assert np.abs(samples - (sides[0] + sides[1]) / 2).max() < 1e-3


@pytest.mark.parametrize("channels", [3, 9, 20, 64])
def test_any_number_of_channels_up_to_64_is_mixed(channels: int) -> None:
    values = np.repeat((TALK * 32767).astype("<i2")[:, None], channels, axis=1)
    samples, _ = heard(wav(channels, RATE, 16, values.tobytes()))
    assert len(samples) == len(TALK)
    assert np.abs(samples).max() == pytest.approx(np.abs(TALK).max(), rel=0.1)
