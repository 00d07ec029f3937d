import os
import shutil
import wave
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kfp.dsl import HTML, Dataset

from components.common.recordings import QUARANTINE, Sound, lectures, read_quarantine, read_stage, version_in
from components.recordings.component import recordings as component
from components.recordings.cues import read_cues
from components.recordings.notes import Note, read_notes, slug, splits_of, unique_ids
from components.recordings.read import RecordingSettings
from components.recordings.run import recordings
from components.recordings.sources import SAMPLES, open_source
from serving.contract.errors import SluiceError


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    """int16 samples [n] or [n, channels] as a WAV file."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(samples.astype("<i2").tobytes())


def tone(seconds: float, rate: int = 16_000, level: float = 6000) -> np.ndarray:
    """A tone that comes and goes, as words do."""
    t = np.arange(round(seconds * rate)) / rate
    return level * np.sin(2 * np.pi * 330 * t) * (np.sin(2 * np.pi * 1.5 * t) > -0.5)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A folder of good, odd and bad files; what recordings made of it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    for name in ("tides-1.ogg", "tides-1.vtt", "trees-1.mp4"):
        shutil.copy(SAMPLES / name, source / name)
    shutil.copy(SAMPLES / "tides-1.ogg", source / "tides again.ogg")
    write_wav(source / "Wide Room (8).wav", np.stack([tone(3, 44_100)] * 8, axis=1), 44_100)
    write_wav(source / "liar.mp3", np.concatenate([tone(2), np.zeros(48_000), tone(2)]))
    write_wav(source / "quiet.wav", np.random.default_rng(0).normal(0, 2, 64_000))
    write_wav(source / "blink.wav", tone(0.1))
    (source / "empty.m4a").touch()
    (source / "letter.mp3").write_text("Dear all, the recording follows.\n" * 100)
    (source / "cut.mp4").write_bytes((SAMPLES / "trees-1.mp4").read_bytes()[:40_000])
    (source / "notes.txt").write_text("not tried at all")
    (source / ".hidden.wav").touch()
    (source / "liar.srt").write_text("1\n00:00:02,000 --> 00:00:01,000\nbackwards\n")
    (source / "samples.yaml").write_text("- {file: tides-1.ogg, title: The tide, split: val}\n- {file: gone.ogg}\n")
    ids = recordings(str(source), RecordingSettings(), out / "recordings", out / "report.html")
    return source, out, ids


def test_good_and_odd_files_are_read_and_bad_ones_are_named_with_the_reason(mixed) -> None:
    _, out, ids = mixed
    assert ids == ["liar", "tides-1", "trees-1", "wide-room-8"] == lectures(out / "recordings", "windows")
    left = {row["file"]: row["reason"] for row in read_quarantine(out / "recordings" / QUARANTINE)}
    for file, reason in {
        "quiet.wav": "silent: nothing can be heard in its 4 s", "blink.wav": "too short: 0.10 s",
        "empty.m4a": "0 bytes",
        "letter.mp3": "no recording of a known format", "cut.mp4": "cut off or broken", "gone.ogg": "no such file",
        "tides again.ogg": "the same file as tides-1.ogg",
    }.items():  # fmt: skip
        assert reason in left[file]
    assert len(left) == 7 and "letter.mp3" in (out / "report.html").read_text()


def test_what_a_file_is_and_how_it_sounds_stands_in_its_row(mixed) -> None:
    folder = mixed[1] / "recordings"
    rows = {name: read_stage(folder, name, "recording").to_pylist()[0] for name in mixed[2]}
    wide, liar = rows["wide-room-8"], rows["liar"]
    assert (wide["channels"], wide["sample_rate"]) == (8, 44_100) and wide["duration_s"] == pytest.approx(3, abs=0.05)
    assert "named .mp3, holds wav" in liar["note"] and "its reference was not read" in liar["note"]
    assert rows["trees-1"]["video"] and not liar["video"] and rows["tides-1"]["title"] == "The tide"
    assert rows["tides-1"]["split"] == "val" and 0 < rows["tides-1"]["silence_share"] < 0.5
    assert -40 < rows["tides-1"]["loudness"] < -5 and liar["silence_share"] > 0.4


def test_windows_keep_exact_offsets_and_leave_long_silence_out(mixed) -> None:
    source, out, _ = mixed
    folder = out / "recordings"
    windows = read_stage(folder, "liar", "windows").to_pandas()
    assert len(windows) == 2 and windows["start"][1] > 4.5 and windows["end"][0] < 2.5
    assert ((windows["end"] - windows["start"]) * 32_000 == windows["samples"].map(len)).all()
    silences = read_stage(folder, "liar", "silences").to_pylist()
    assert any(s["start"] == pytest.approx(2, abs=0.3) and s["end"] == pytest.approx(5, abs=0.3) for s in silences)
    with wave.open(str(source / "liar.mp3"), "rb") as reader:
        whole = np.frombuffer(reader.readframes(reader.getnframes()), "<i2").astype(int)
    sound, rate = Sound(folder, "liar"), 16_000
    assert np.abs(sound.cut(1.0, 6.0) - whole[rate : 6 * rate]).max() <= 1
    assert (
        sound.duration_s == pytest.approx(7, abs=0.05)
        and len(sound.cut(6.5, 99)) == round(sound.duration_s * 16_000) - 104_000
    )
    sound.write_wav(out / "copy.wav")
    assert (out / "copy.wav").stat().st_size == 44 + 2 * round(sound.duration_s * rate)


def test_a_version_follows_the_file_and_the_settings(mixed, tmp_path: Path) -> None:
    source, out, _ = mixed
    one = str(source / "tides-1.ogg")
    same = recordings(one, RecordingSettings(workers=1), tmp_path / "a", tmp_path / "a.html")
    recordings(one, RecordingSettings(window_s=6), tmp_path / "b", tmp_path / "b.html")
    versions = [version_in(folder, "tides-1", "windows") for folder in (tmp_path / "a", tmp_path / "b")]
    assert same == ["tides-1"] and versions[0] != versions[1] and len(versions[0]) == 16
    assert read_stage(tmp_path / "a", "tides-1", "reference").num_rows == 13
    lengths = read_stage(tmp_path / "b", "tides-1", "windows").to_pandas()
    assert (lengths["end"] - lengths["start"]).max() <= 6


def test_a_bucket_is_read_like_a_folder(mixed, tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/lectures/term/liar.mp3", (mixed[0] / "liar.mp3").read_bytes())
    memory.pipe("/lectures/term/liar.vtt", b"WEBVTT\n\n00:00.500 --> 00:01.500\n<v Ada>one two\n")
    out = tmp_path / "out"
    assert component.python_func(
        source="memory://lectures/term", source_digest="", settings={"workers": 1.0},
        recordings=Dataset(uri=str(out)), report=HTML(uri=str(tmp_path / "r.html")),
    ) == ["liar"]  # fmt: skip
    assert read_stage(out, "liar", "reference").to_pylist()[0]["speaker"] == "Ada"


@pytest.mark.parametrize(
    ("files", "says"),
    [(None, "no such file or folder"), ({}, "no recording in it"), ({"a.wav": "x"}, "none of 1 files.*a.wav")],
)  # fmt: skip
def test_a_source_without_anything_to_hear_stops_the_run(tmp_path: Path, files, says) -> None:
    source = tmp_path / "source"
    if files is not None:
        source.mkdir()
        for name, text in files.items():
            (source / name).write_text(text)
    with pytest.raises(SluiceError, match=says):
        recordings(str(source), RecordingSettings(), tmp_path / "out", tmp_path / "r.html")
    assert not (tmp_path / "out").exists()


def test_cues_are_read_from_both_formats_without_markup() -> None:
    vtt = "\ufeffWEBVTT\n\nNOTE x\n\n1\n00:01.500 --> 01:00:02.25 align:start\n<v Ada Byron>Fish &amp; <i>chips</i>."
    vtt += "\n\n00:00.100 --> 00:01.000\nFirst.\n"
    first, second = read_cues(vtt, "a.vtt")
    assert first.text == "First." and second == (1.5, 3602.25, "Fish & chips.", "Ada Byron")
    assert read_cues("1\r\n00:00:01,000 --> 00:00:02,000\r\nHello\r\n", "a.srt")[0] == (1.0, 2.0, "Hello", "")
    with pytest.raises(SluiceError, match="a.txt: no cue in it"):
        read_cues("Dear diary", "a.txt")


def test_transcripts_are_found_by_the_names_and_in_the_encodings_that_tools_give_them(tmp_path: Path) -> None:
    vtt = (SAMPLES / "tides-1.vtt").read_text()
    beside = {
        "plain.ogg": ("plain.vtt", vtt.encode()), "talk.ogg": ("talk.en-US.vtt", vtt.encode()),
        "shout.ogg": ("SHOUT.VTT", vtt.encode("utf-8-sig")), "whole.ogg": ("whole.ogg.vtt", vtt.encode("utf-16")),
        "Zoom_Recording_640x360.ogg": ("Zoom_Recording.transcript.vtt", vtt.encode("utf-16-be")),
        "old.ogg": ("old.vtt", vtt.replace("tide", "t\xefd\xe9").encode("cp1252")),
        "talk.de.ogg": ("talk.de.vtt", b"WEBVTT"),
        "lost.ogg": ("lots.vtt", vtt.encode()), "cyr.ogg": ("cyr.vtt", "00:01 --> 00:02\nпривет".encode("cp1251")),
    }  # fmt: skip
    for at, (name, (transcript, data)) in enumerate(beside.items()):
        write_wav(tmp_path / name, tone(1 + at / 10))
        (tmp_path / transcript).write_bytes(data)
    (tmp_path / "plain.de.vtt").write_text("WEBVTT\n\n00:01.000 --> 00:02.000\nnicht gesagt\n")
    out = tmp_path / "out"
    recordings(str(tmp_path), RecordingSettings(), out / "recordings", out / "report.html")
    texts = {
        lecture: " ".join(read_stage(out / "recordings", lecture, "reference")["text"].to_pylist())
        for lecture in lectures(out / "recordings", "reference")
    }
    assert set(texts) == {"plain", "talk", "shout", "whole", "zoom-recording-640x360", "old"}
    assert texts.pop("old") == texts["plain"].replace("tide", "t\xefd\xe9") and len(set(texts.values())) == 1
    (alone,) = (row for row in read_quarantine(out / "recordings" / QUARANTINE) if row["file"] == "lots.vtt")
    assert "a transcript of no recording" in alone["reason"]
    note = read_stage(out / "recordings", "cyr", "recording")["note"][0].as_py()
    assert "cyr.vtt: its text is neither UTF-8, UTF-16 nor Windows-1252" in note


def test_a_cue_that_does_not_last_costs_no_other_and_is_said(tmp_path: Path) -> None:
    write_wav(tmp_path / "talk.wav", tone(3))
    (tmp_path / "talk.srt").write_text("1\n00:00:01,0 --> 00:00:01,0\nyou\n\n2\n00:00:01,0 --> 00:00:02,0\nhello\n")
    recordings(str(tmp_path), RecordingSettings(), tmp_path / "out", tmp_path / "r.html")
    assert read_stage(tmp_path / "out", "talk", "reference")["text"].to_pylist() == ["hello"]
    note = read_stage(tmp_path / "out", "talk", "recording")["note"][0].as_py()
    assert note == "1 cues of talk.srt do not last and are passed over"


def test_ids_are_plain_and_unique_and_notes_are_checked() -> None:
    assert unique_ids(["a/Talk 1.wav", "b/talk_1.mp3"], {}) == {"a/Talk 1.wav": "talk-1", "b/talk_1.mp3": "talk-1-2"}
    assert slug("§§") == "recording"
    ids = {f"{name}.wav": name for name in "abc"}
    assert set(splits_of(ids, {}).values()) == {"train", "val", "test"}
    assert splits_of(ids, {"a.wav": Note(file="a.wav", split="val")})["a"] == "val"
    with pytest.raises(SluiceError, match=r"samples.yaml:.*splitt"):
        read_notes("- {file: a.wav, splitt: train}", "samples.yaml")
    notes = read_notes((SAMPLES / "samples.yaml").read_text(), "samples.yaml")
    assert all((SAMPLES / name).is_file() and note.questions for name, note in notes.items())
    splits = pd.Series({note.id: note.split for note in notes.values()})
    assert set(splits) == {"train", "val", "test"}


def test_what_is_odd_about_a_recording_stands_in_its_note_and_a_guessed_length_refuses_none(tmp_path: Path) -> None:
    import av

    loud, quiet = np.tile(tone(2), 15), np.random.default_rng(0).normal(0, 2, 20 * 16_000)
    (tmp_path / "in").mkdir()
    write_wav(tmp_path / "in" / "swapped.wav", np.stack([loud, -loud], axis=1))
    with open(tmp_path / "in" / "guessed.mp3", "wb") as joined:
        for samples, rate in ((quiet, 32_000), (loud, 320_000)):
            part = str(tmp_path / "part.mp3")
            with av.open(part, "w", options={"write_xing": "0", "id3v2_version": "0"}) as out:
                stream = out.add_stream("libmp3lame", rate=16_000, layout="mono")
                stream.bit_rate = rate
                frame = av.AudioFrame.from_ndarray(samples.astype(np.int16).reshape(1, -1), format="s16", layout="mono")
                frame.sample_rate = 16_000
                for ready in av.AudioResampler("s16p", "mono", 16_000, frame_size=576).resample(frame):
                    out.mux(stream.encode(ready))
                out.mux(stream.encode(None))
            joined.write(Path(part).read_bytes())
    out_dir = tmp_path / "out"
    settings = RecordingSettings(max_s=60)
    assert recordings(str(tmp_path / "in"), settings, out_dir, tmp_path / "r.html") == ["guessed", "swapped"]
    notes = {name: read_stage(out_dir, name, "recording").to_pylist()[0] for name in ("guessed", "swapped")}
    assert "cancel each other out" in notes["swapped"]["note"]
    assert notes["guessed"]["note"] == "" and notes["guessed"]["duration_s"] == pytest.approx(50, abs=0.3)


def test_links_that_leave_a_folder_pipes_and_names_that_are_no_utf8_stop_nothing(tmp_path, caplog):
    private = tmp_path / "private.vtt"
    private.write_text("WEBVTT\n\n00:00.000 --> 00:02.000\nA secret.\n")
    source = tmp_path / "source"
    source.mkdir()
    write_wav(source / "talk.wav", tone(5))
    shutil.copy(source / "talk.wav", os.fsencode(source) + b"/caf\xe9.wav")
    write_wav(source / "other.wav", tone(6))
    (source / "talk.vtt").symlink_to(private)
    (source / "itself.mp3").symlink_to("itself.mp3")
    os.mkfifo(source / "pipe.mp3")
    names = recordings(str(source), RecordingSettings(), tmp_path / "out", tmp_path / "report.html")
    assert "other" in names and len(names) == 2
    left = read_quarantine(tmp_path / "out" / QUARANTINE)
    assert "itself.mp3" in {one["file"] for one in left} and "caf\ufffd.wav" in str(left) + caplog.text
    for place in (source, source / "talk.wav"):
        assert open_source(str(place)).reference("talk.wav") == ""
    assert "pipe.mp3: not a regular file" in caplog.text and "talk.vtt: a link that leaves the source" in caplog.text
