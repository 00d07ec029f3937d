import math
from pathlib import Path

import numpy as np
import pytest
from tones import RATE, record, sound

from serving.contract.errors import SluiceError
from serving.media import NoMedia, Recording, blocks, cut, measure, probe

SPOKEN = sound((0.5, 0), (2.0, 0.4), (0.5, 0), (2.0, 0.4))


def whole(source: Path | bytes) -> np.ndarray:
    return np.concatenate(list(blocks(source)))


@pytest.mark.parametrize("suffix", ["wav", "mp3", "m4a", "ogg", "flac", "mp4", "mkv", "webm"])
def test_reads_every_container_to_the_same_mono_samples(tmp_path: Path, suffix: str) -> None:
    path = record(tmp_path / f"talk.{suffix}", SPOKEN)
    media = probe(path)
    assert media.video == (suffix == "mp4")
    assert media.duration_s == pytest.approx(5, abs=0.15)
    samples = whole(path)
    assert samples.dtype == np.float32
    assert len(samples) / RATE == pytest.approx(5, abs=0.1)
    assert [round(stretch.start, 1) for stretch in cut([samples], 6.0)] == pytest.approx([0.3, 2.8], abs=0.11)
    assert np.array_equal(whole(path.read_bytes()), samples)


@pytest.mark.parametrize(("rate", "layout"), [(48_000, "7.1"), (8_000, "mono"), (44_100, "stereo"), (96_000, "5.1")])
def test_mixes_and_resamples_whatever_was_recorded(tmp_path: Path, rate: int, layout: str) -> None:
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    path = record(tmp_path / "many.wav", tone, rate, layout)
    samples = whole(path)
    assert len(samples) == pytest.approx(2 * RATE, abs=40)
    heard = np.abs(np.fft.rfft(samples))
    assert np.argmax(heard) * RATE / len(samples) == pytest.approx(440, abs=1)
    assert 0.1 < np.abs(samples[1000:-1000]).max() < 0.6


def test_a_wrong_extension_does_not_matter(tmp_path: Path) -> None:
    path = record(tmp_path / "talk.flac", SPOKEN).rename(tmp_path / "talk.mp3")
    assert probe(path).codec == "flac"
    assert len(whole(path)) == len(SPOKEN)


def test_sound_that_starts_later_than_the_picture_keeps_its_times(tmp_path: Path) -> None:
    path = record(tmp_path / "talk.mp4", sound((1.0, 0.4)), later=2.0)
    assert [round(part.start) for part in cut(blocks(path), 6.0)] == [2]


def test_a_cut_off_file_gives_what_is_there_and_says_so(tmp_path: Path) -> None:
    for suffix in ("flac", "ogg", "wav"):
        path = record(tmp_path / f"talk.{suffix}", np.tile(SPOKEN, 4))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with Recording(path) as recording:
            seconds = sum(map(len, recording.blocks())) / RATE
            assert 5 < seconds < 15
            assert recording.damaged or suffix == "ogg" or math.isclose(seconds, recording.media.duration_s, abs_tol=1)


def test_a_whole_file_is_not_called_damaged(tmp_path: Path) -> None:
    assert not measure(record(tmp_path / "talk.mp3", SPOKEN)).damaged


@pytest.mark.parametrize(
    "data", [b"", b"hello, I am a text\n" * 50, bytes(range(256)) * 40, b"%PDF-1.7\n" + bytes(900)]
)
def test_what_is_no_recording_is_called_so(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "notes.wav").write_bytes(data)
    for source in (data, tmp_path / "notes.wav"):
        with pytest.raises(NoMedia, match="empty|no recording|no sound"):
            probe(source)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    record(tmp_path / "talk.wav", SPOKEN)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{tmp_path}/talk.wav\n#EXT-X-ENDLIST\n".encode()
    with pytest.raises(NoMedia):
        probe(playlist)


def test_a_film_without_sound_and_an_mp4_without_index_say_what_they_lack(tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "mute.mkv"), "w") as out:
        stream = out.add_stream("mpeg4", rate=5, width=64, height=48)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        out.mux(stream.encode(None))
    with pytest.raises(NoMedia, match="no sound in it"):
        probe(tmp_path / "mute.mkv")
    path = record(tmp_path / "talk.mp4", SPOKEN)
    with pytest.raises(SluiceError, match="cut off or broken"):
        probe(path.read_bytes()[:9000])
    with pytest.raises(SluiceError, match="no such file"):
        probe(tmp_path / "absent.wav")


def test_levels_tell_silence_from_sound(tmp_path: Path) -> None:
    half = measure(record(tmp_path / "half.wav", sound((5, 0.4), (5, 0))))
    assert half.silence_share == pytest.approx(0.5, abs=0.05)
    assert half.seconds == 10
    assert -25 < half.loudness_dbfs < half.peak_dbfs < 0
    silent = measure(record(tmp_path / "silent.wav", sound((3, 0))))
    assert (silent.silence_share, silent.loudness_dbfs) == (1.0, -100.0)


def test_cuts_at_pauses_with_exact_offsets_whatever_the_blocks() -> None:
    rng = np.random.default_rng(1)
    parts = [part for _ in range(30) for part in ((float(rng.uniform(1, 4)), 0.3), (float(rng.uniform(0.4, 0.8)), 0.0))]
    samples = sound(*parts) + rng.normal(0, 0.002, sum(round(s * RATE) for s, _ in parts)).astype(np.float32)
    for window in (6.0, 30.0):
        found = list(cut([samples], window))
        again = list(cut((samples[at : at + 7_777] for at in range(0, len(samples), 7_777)), window))
        assert [(s.start, len(s.samples)) for s in found] == [(s.start, len(s.samples)) for s in again]
        for stretch in found:
            begin = round(stretch.start * RATE)
            assert len(stretch.samples) <= window * RATE
            assert np.array_equal(stretch.samples, samples[begin : begin + len(stretch.samples)])
        ends = np.cumsum([seconds for seconds, _ in parts]).tolist()
        pauses = list(zip(ends[::2], ends[1::2], strict=True))
        assert all(any(a - 0.05 <= s.end <= b + 0.05 for a, b in pauses) for s in found)
    assert len(found) < 6


def test_speech_without_pause_is_cut_at_its_quietest_place_and_silence_is_left_out() -> None:
    steady = sound((5.0, 0.3), (0.1, 0.05), (5.0, 0.3))
    ends = [stretch.end for stretch in cut([steady], 6.0)]
    assert ends[0] == pytest.approx(5.05, abs=0.1)
    assert ends[-1] == pytest.approx(10.1, abs=0.05)
    assert list(cut([sound((90, 0))], 30.0)) == []
    lonely = list(cut([sound((70, 0), (2, 0.3), (50, 0), (2, 0.3), (1, 0))], 30.0))
    assert [round(stretch.start) for stretch in lonely] == [70, 122]
    assert all(len(stretch.samples) < 3 * RATE for stretch in lonely)
