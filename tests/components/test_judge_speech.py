import base64
import json
import wave
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from kfp.dsl import HTML, Artifact, Dataset, Metrics, Model
from tiny_whisper import WORDS, make_tiny_whisper

from components.evaluate.component import evaluate
from components.evaluate.transcription import asked
from components.evaluate.transcription.hear import count_errors, figures
from components.evaluate.transcription.report import confusions
from components.pack.component import pack
from components.quantize.component import quantize
from components.report.page import page_data
from serving.bundle import Bundle
from serving.errors import SluiceError
from serving.verdict import read_verdicts

MANY = (*WORDS, *(f"word{chr(97 + at // 26)}{chr(97 + at % 26)}" for at in range(400)))


def make_speech_tables(folder, each=4):
    """Audio and utterances of two speakers: tones, one a word, with a reference each."""
    rng = np.random.default_rng(0)
    audio, utterances = [], []
    for split in ("train", "val", "test"):
        for at in range(each):
            seconds = 1.0 + at % 3
            time = np.arange(int(16000 * seconds)) / 16000
            sound = (8000 * np.sin(2 * np.pi * (200 + 100 * at) * time) * (time % 0.5 < 0.4)).astype("<i2")
            one = {"utterance_id": f"{split}-{at}", "recording_id": split}
            audio.append({**one, "start": 0.0, "end": seconds, "samples": sound.tobytes()})
            words = " ".join(rng.choice(WORDS[10:], 3))
            utterances.append(
                {**one, "text": f"{words.capitalize()}.", "speaker": ("Ada", "Ben")[at % 2], "split": split,
                 "condition": ("clean", "known")[at % 2], "seconds": np.float32(seconds)}
            )  # fmt: skip
    pd.DataFrame(audio).to_parquet(folder / "audio.parquet")
    pd.DataFrame(utterances).to_parquet(folder / "utterances.parquet")
    return folder / "audio.parquet", folder / "utterances.parquet"


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """Quantise, pack and evaluate a random Whisper, as the pipeline would."""
    place = tmp_path_factory.mktemp("speech")
    tables = {
        name: Dataset(uri=str(path))
        for name, path in zip(("corpus", "examples"), make_speech_tables(place), strict=True)
    }
    quantize.python_func(
        model=Model(uri=str(make_tiny_whisper(place / "base", MANY))),
        **tables,
        settings={"repeats": 3, "utterances": 3},
        variants=Model(uri=str(place / "variants")),
        verdict=Artifact(uri=str(place / "quantisation.json")),
        report=HTML(uri=str(place / "quantisation.html")),
    )
    pack.python_func(
        variants=Model(uri=str(place / "variants")),
        **tables,
        settings={"system": "lectures-transcriber"},
        bundle=Model(uri=str(place / "bundle")),
        metrics=Metrics(uri=str(place / "pack.json")),
    )
    evaluate.python_func(
        bundle=Model(uri=str(place / "bundle")),
        **tables,
        settings={"resamples": 100, "threads": 1},
        predictions=Dataset(uri=str(place / "predictions.parquet")),
        metrics=Metrics(uri=str(place / "metrics.json")),
        report=HTML(uri=str(place / "page.html")),
        asked=Dataset(uri=str(place / "asked.jsonl")),
    )
    return place


def test_the_graphs_repeat_torch_and_both_variants_are_measured(room):
    told = json.loads((room / "variants/variants.json").read_text())
    assert told["task"] == "transcription" and told["speech"]["window_s"] == 6
    assert told["variants"]["fp32"]["max_abs_difference"] < 1e-3
    for row in told["variants"].values():
        folder = room / "variants" / row["file"]
        assert row["encoder_bytes"] == (folder / "encoder.onnx").stat().st_size
        assert row["bytes"] == sum(f.stat().st_size for f in folder.iterdir())
        assert row["p50_ms_batch1"] > 0 and row["audio_s_per_s"] > 0 and row["wer_of3_val"] > 0
    assert told["variants"]["int8"]["smaller"] > 0.3
    [verdict] = read_verdicts(room / "quantisation.json")
    assert verdict.figures["int8_decoder_bytes"] == told["variants"]["int8"]["decoder_bytes"]
    assert not (room / "variants/bundle.json").exists()


def test_the_bundle_is_whole_and_says_what_it_can_do(room):
    bundle = Bundle.read(room / "bundle")
    assert (bundle.task, bundle.system) == ("transcription", "lectures-transcriber")
    assert bundle.speech_model().tokens.sot >= 0 and bundle.encoder is None
    assert bundle.metrics["wer_of3_val"] == bundle.variants[bundle.variant].model_dump()["wer_of3_val"]


def test_every_test_utterance_is_heard_through_serving_and_its_errors_kept(room):
    found = pd.read_parquet(room / "predictions.parquet")
    assert len(found) == 4 and set(found["task"]) == {"transcription"} and set(found["speaker"]) == {"Ada", "Ben"}
    assert (found["errors"] == found["substitutions"] + found["deletions"] + found["insertions"]).all()
    named = json.loads((room / "metrics.json").read_text())
    assert named["wer_test"] == pytest.approx(found["errors"].sum() / found["words"].sum())
    assert {"cer_test", "wer_test_clean", "wer_test_known", "rtf_test"} <= named.keys()
    html = (room / "page.html").read_text()
    data = page_data(html)
    assert data["counts"] == {"test utterances": 4, "words": 12}
    [[title, markup]] = data["showcase"]
    assert title == "What it hears" and "<image" in markup and "said" in markup
    assert "Worst utterances" in html


def test_requests_for_load_tests_are_recordings_with_what_is_said_in_them(room):
    rows = [json.loads(line) for line in (room / "asked.jsonl").read_text().splitlines()]
    assert [row["task"] for row in rows] == ["transcription"] * 4
    with wave.open(BytesIO(base64.b64decode(rows[0]["instance"]["audio"]))) as sound:
        assert (sound.getframerate(), sound.getnchannels()) == (16000, 1)
        assert sound.getnframes() == pytest.approx(16000 * rows[0]["units"])
    assert rows[0]["expect"]["text"].endswith(".")


def test_a_split_without_utterances_is_named(room, tmp_path):
    table = pd.read_parquet(room / "utterances.parquet")
    table[table["split"] == "val"].to_parquet(tmp_path / "utterances.parquet")
    with pytest.raises(SluiceError, match="no utterance of split 'test'"):
        asked(room / "audio.parquet", tmp_path / "utterances.parquet")


def test_errors_are_counted_by_word_and_the_commonest_confusions_named():
    keys = {"recording_id": "r", "speaker": "Ada", "condition": "clean", "seconds": 2.0}
    table = pd.DataFrame([{**keys, "utterance_id": i, "text": "The river runs."} for i in range(3)])
    found = count_errors(table, ["the river runs", "the liver runs", "the liver"], "en")
    assert found["errors"].tolist() == [0, 1, 2] and found["deletions"].tolist() == [0, 0, 1]
    assert figures(found, 3.0)["wer_test"] == pytest.approx(3 / 9) and figures(found, 3.0)["rtf_test"] == 0.5
    assert confusions(found)[0] == {"said": "river", "heard": "liver", "times": 2}
