from pathlib import Path

import numpy as np
import pytest
from kfp.dsl import Artifact, Dataset, Model

from components.common.recordings import QUARANTINE, read_quarantine, read_stage, version_in, write_stage
from components.transcribe.component import transcribe as component
from components.transcribe.run import TranscribeSettings, transcribe
from serving.contract.errors import SluiceError
from serving.contract.verdict import Verdict, write_verdicts


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lecture with two sounds far apart, and one whose windows were lost."""
    folder, t = tmp_path_factory.mktemp("recordings"), np.arange(24_000) / 16_000
    hum = (6000 * np.sin(2 * np.pi * 220 * t)).astype("<i2").tobytes()
    rows = [{"window": n, "start": s, "end": s + 1.5, "samples": hum} for n, s in enumerate((0.5, 8.0))]
    write_stage(folder, "hum", "windows", rows, "v1")
    write_stage(folder, "lost", "windows", [], "v1")
    return folder


def run(recordings: Path, out: Path, lecture: str, bundle: Path, fallback: Path, passed: bool) -> Path:
    """The component with one verdict; returns where the transcript went."""
    write_verdicts([Verdict("data", True, ""), Verdict("quality", passed, "")], out / "verdict.json")
    component.python_func(
        Dataset(uri=str(recordings)), lecture, Model(uri=str(bundle)), Model(uri=str(fallback)),
        Artifact(uri=str(out / "verdict.json")), {"threads": 1.0}, Dataset(uri=str(out / "transcript")),
    )  # fmt: skip
    return out / "transcript"


def test_a_lecture_is_written_in_every_format_with_times_of_the_recording(
    tiny_speech: Path, recordings: Path, tmp_path: Path
) -> None:
    made = run(recordings, tmp_path, "hum", tiny_speech / "bundle", tmp_path / "none", passed=True)
    rows = read_stage(made, "hum", "transcript").to_pylist()
    assert rows and [row["id"] for row in rows] == list(range(len(rows)))
    assert all(0 <= row["start"] <= row["end"] <= 9.6 and 0 <= row["confidence"] <= 1 for row in rows)
    assert all(row["words"][0]["word"] == row["text"].split()[0] for row in rows)
    assert any(row["start"] > 7 for row in rows) and not any(2.5 < row["start"] < 7 for row in rows)
    texts = {suffix: (made / "hum" / f"transcript.{suffix}").read_text() for suffix in ("srt", "vtt", "json", "txt")}
    assert texts["vtt"].startswith("WEBVTT") and all(rows[0]["text"].split()[0] in text for text in texts.values())
    assert len(version_in(made, "hum", "transcript")) == 16 and not (made / QUARANTINE).exists()


def test_unless_every_verdict_passed_the_fallback_transcribes(
    tiny_speech: Path, recordings: Path, tmp_path: Path
) -> None:
    made = run(recordings, tmp_path, "hum", tmp_path / "none", tiny_speech / "bundle", passed=False)
    assert read_stage(made, "hum", "transcript").num_rows
    with pytest.raises(SluiceError, match="none"):
        run(recordings, tmp_path, "hum", tmp_path / "none", tiny_speech / "bundle", passed=True)


def test_a_lecture_that_fails_is_left_out_by_name_and_settings_that_fail_stop_the_run(
    tiny_speech: Path, recordings: Path, tmp_path: Path
) -> None:
    bundle = tiny_speech / "bundle"
    assert not transcribe(recordings, "lost", bundle, TranscribeSettings(), tmp_path / "out")
    (row,) = read_quarantine(tmp_path / "out" / QUARANTINE)
    assert row["lecture"] == "lost" and row["reason"].startswith("not transcribed: ")
    with pytest.raises(SluiceError, match="'language'"):
        transcribe(recordings, "hum", bundle, TranscribeSettings(language="klingon"), tmp_path / "other")
    with pytest.raises(SluiceError, match="lectures with stage windows here: hum, lost"):
        transcribe(recordings, "gone", bundle, TranscribeSettings(), tmp_path / "other")
    assert not (tmp_path / "other").exists()
