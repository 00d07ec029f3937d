import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from answered import heard
from kfp.dsl import Dataset

from components.common.recordings import Sound, read_stage
from components.recordings import sources
from components.recordings.read import RecordingSettings
from components.recordings.run import recordings
from components.recordings.sources import SAMPLES
from components.tasks.highlights import data as highlights
from components.tasks.transcription import data as transcription
from components.utterances.component import utterances as component
from components.utterances.run import UtteranceSettings, utterances
from serving.contract.errors import SluiceError


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of our samples, one without notes and with other times in its reference."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    for name in ("tides-1.ogg", "tides-1.vtt", "bees-1.ogg"):
        shutil.copy(SAMPLES / name, source / name)
    (source / "bees-1.vtt").write_text(
        "WEBVTT\n\n00:00.400 --> 00:03.000\n<v Ada>A bee can tell.\n\n00:03.050 --> 00:12.000\n<v Ada>Far too long.\n\n"
        "00:49.000 --> 00:49.050\n<v Ada>short\n\n01:30.000 --> 01:31.000\n<v Ada>after the end\n"
    )
    (source / "samples.yaml").write_text("- {file: tides-1.ogg, speaker: Grace, condition: noise, split: test}\n")
    recordings(str(source), RecordingSettings(), out / "recordings", out / "r.html")
    return out / "recordings"


@pytest.fixture(scope="module")
def tables(read: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the component makes of them for a model with a window of 6 s."""
    folder = tmp_path_factory.mktemp("tables")
    made = [Dataset(uri=str(folder / name)) for name in ("audio.parquet", "utterances.parquet")]
    component.python_func(Dataset(uri=str(read)), {"window_s": 6.0, "samples": False}, *made)
    return tuple(pd.read_parquet(one.path) for one in made)  # type: ignore[return-value]


def test_every_cue_that_fits_becomes_an_utterance_with_its_sound(read: Path, tables) -> None:
    audio, texts = tables
    assert audio["utterance_id"].tolist() == texts["utterance_id"].tolist() and len(texts) == 14
    tide = texts[texts["recording_id"] == "tides-1"]
    assert tide["text"].iloc[1] == "We call this slow movement of the water the tide." and len(tide) == 13
    assert tide[["speaker", "condition", "split"]].drop_duplicates().values.tolist() == [["Grace", "noise", "test"]]
    bee = texts[texts["recording_id"] == "bees-1"]
    assert bee["text"].tolist() == ["A bee can tell."] and bee["speaker"].tolist() == ["Ada"]
    assert bee["split"].iloc[0] in ("train", "val", "test") and bee["condition"].iloc[0] == "unknown"
    row = audio.iloc[5]
    assert row["samples"] == Sound(read, row["recording_id"]).cut(row["start"], row["end"]).tobytes()
    assert np.allclose(texts["seconds"], audio["samples"].map(len) / 32_000)


def test_what_anybody_proposes_waits_and_what_is_accepted_teaches_its_own_recording_only(
    read: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.feedback import FeedbackStore
    from serving.feedback.reviews import all_corrections, decide

    monkeypatch.setenv("SLUICE_FEEDBACK_DB", f"sqlite:///{tmp_path / 'feedback.db'}")
    copy = shutil.copytree(read, tmp_path / "recordings")
    rows = pq.read_table(copy / "bees-1" / "recording.parquet")
    at = rows.schema.get_field_index("split")
    pq.write_table(rows.set_column(at, "split", pa.array(["train"])), copy / "bees-1" / "recording.parquet")
    bees, tides = (read_stage(copy, name, "recording").to_pylist()[0]["sha256"] for name in ("bees-1", "tides-1"))

    def texts() -> dict[str, list[str]]:
        utterances(copy, UtteranceSettings(window_s=6, samples=False), tmp_path / "a", tmp_path / "u")
        return pd.read_parquet(tmp_path / "u").groupby("recording_id")["text"].agg(list).to_dict()

    before = texts()
    store = FeedbackStore(feature_server="")
    spans = ((0.0, 40.0), (0.5, 2.9), (20.0, 22.0), (3000.0, 3002.0))
    said = {"duration": 4000.0, "segments": [{"start": s, "end": e, "text": "a bee can sell"} for s, e in spans]}
    for answer, digest in (("bees", bees), ("tides", tides), ("stranger", "ab" * 32)):
        heard(store, answer, "r1", "transcription", "bees-1", said, digest)
    for answer in ("bees", "tides", "stranger"):
        for start, end in spans:
            store.feedback(answer, "down", f"{answer} from {start:g}", start, end)
    store.close()
    assert texts() == before  # a proposal changes nothing
    every = {(one.recording, one.start): one.id for one in all_corrections()}
    decide(list(every.values()), "accepted", "Eve")
    assert texts() == before | {"bees-1": [*before["bees-1"], "bees from 20"]}  # the reference speaks elsewhere
    decide([every[bees, 0.5]], "accepted", "Eve", over_reference=True)
    assert texts() == before | {"bees-1": ["bees from 0.5", "bees from 20"]}  # and tides-1 is of the test set


def test_padding_never_reaches_into_the_neighbours_words(tables) -> None:
    audio = tables[0].set_index("utterance_id")
    assert audio.loc["bees-1-0000", "start"] == pytest.approx(0.25)
    assert audio.loc["bees-1-0000", "end"] == pytest.approx(3.025)


def test_without_any_reference_our_samples_stand_in_or_the_run_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tmp_path / "samples"  # three of ours, one a split: all of them take seconds
    few.mkdir()
    for name in ("numbers-1", "rivers-2", "sound-2"):
        for suffix in (".ogg", ".vtt"):
            shutil.copy(SAMPLES / f"{name}{suffix}", few / f"{name}{suffix}")
    shutil.copy(SAMPLES / "samples.yaml", few / "samples.yaml")
    monkeypatch.setattr(sources, "SAMPLES", few)
    (tmp_path / "source").mkdir()
    shutil.copy(SAMPLES / "bees-1.ogg", tmp_path / "source" / "bees-1.ogg")
    recordings(str(tmp_path / "source"), RecordingSettings(), tmp_path / "out", tmp_path / "r.html")
    with pytest.raises(SluiceError, match="put a .vtt or .srt file of the same name beside each recording"):
        utterances(tmp_path / "out", UtteranceSettings(samples=False), tmp_path / "a", tmp_path / "u")
    assert not (tmp_path / "a").exists()
    utterances(tmp_path / "out", UtteranceSettings(window_s=6), tmp_path / "a", tmp_path / "u")
    texts = pd.read_parquet(tmp_path / "u")
    assert set(texts["split"]) == {"train", "val", "test"} and texts["utterance_id"].str.startswith("sample.").all()


def test_the_data_gate_finds_every_kind_of_bad_utterance(tables) -> None:
    audio, texts = (table.copy() for table in tables)
    ids, row = texts["utterance_id"].tolist(), audio.columns.get_loc("samples")
    audio.iat[1, row] = audio.iat[2, row]
    audio.iat[3, row] = bytes(len(audio.iat[3, row]))
    audio.iat[4, row] = audio.iat[4, row][:16_000]
    loud = np.frombuffer(audio.iat[5, row], "<i2").astype(int) * 50
    audio.iat[5, row] = loud.clip(-32_768, 32_767).astype("<i2").tobytes()
    texts.loc[6, "text"], texts.loc[7, "text"], texts.loc[8, "split"] = " … ", "word " * 60, "exam"
    audio = audio.drop(index=9)
    found = transcription.check(audio, texts, transcription.Settings())
    bad = found.quarantined.groupby("row_id")["reasons"].agg(lambda r: " | ".join(x for each in r for x in each))
    expected = {
        2: "duplicates",
        3: "loudness",
        4: "times",
        5: "clipping",
        6: "reference",
        7: "rate",
        8: "leak",
        9: "audio",
    }
    assert {name for number, name in expected.items() if name not in bad.get(ids[number], "")} == set()
    assert found.corpus["utterance_id"].tolist() == found.examples["utterance_id"].tolist()
    assert not found.verdict.passed and "a split has fewer than 1 utterances" in found.verdict.reason


def test_the_data_gate_judges_documents_and_their_bullets() -> None:
    said = pd.DataFrame(
        [(d, p, f"Sentence {p} of {d} says a thing.", 0.0, 1.0) for d in "abcde" for p in range(5)],
        columns=["document_id", "position", "text", "start", "end"],
    )  # fmt: skip
    said.loc[0, "text"], said.loc[6, "end"] = "  ", -1.0
    told = pd.DataFrame({"document_id": list("abcdex"), "bullets": [["Things are said."]] * 6, "source": "sample",
                         "split": ["train", "val", "test", "train", "train", "train"], "condition": ""})  # fmt: skip
    told.at[2, "bullets"], told.at[3, "bullets"], told.at[4, "bullets"] = [], ["Fine.", ""], ["word " * 99]
    found = highlights.check(said, told, highlights.Settings(max_quarantined=0.1))
    bad = found.quarantined.set_index("row_id")["reasons"].map(lambda reasons: reasons[0].split(":")[0])
    assert bad.to_dict() == {
        "a:0": "emptiness",
        "b:1": "times",
        "c": "bullets",
        "d": "emptiness",
        "e": "length",
        "x": "document",
    }
    assert len(found.corpus) == 23 and found.examples["document_id"].tolist() == ["a", "b"]
    assert "66.7% of summaries quarantined" in found.verdict.reason
