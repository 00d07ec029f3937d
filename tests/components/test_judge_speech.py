import base64
import json
import wave
from io import BytesIO

import pandas as pd
import pytest
from kfp.dsl import HTML, Dataset, Metrics, Model

from components.common.page import page_data
from components.evaluate.component import evaluate
from components.tasks.transcription.evaluating import asked
from components.tasks.transcription.evaluating.hear import count_errors, figures
from components.tasks.transcription.evaluating.report import confusions
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.verdict import read_verdicts


@pytest.fixture(scope="module")
def room(tiny_speech, tmp_path_factory):
    """What the step "Evaluate" leaves of the tiny bundle."""
    place = tmp_path_factory.mktemp("evaluated")
    evaluate.python_func(
        bundle=Model(uri=str(tiny_speech / "bundle")),
        corpus=Dataset(uri=str(tiny_speech / "audio.parquet")),
        examples=Dataset(uri=str(tiny_speech / "utterances.parquet")),
        settings={"resamples": 100.0, "threads": 1},
        predictions=Dataset(uri=str(place / "predictions.parquet")),
        metrics=Metrics(uri=str(place / "metrics.json")),
        report=HTML(uri=str(place / "page.html")),
        asked=Dataset(uri=str(place / "asked.jsonl")),
    )
    return place


def test_the_graphs_repeat_torch_and_both_variants_are_measured(tiny_speech):
    told = json.loads((tiny_speech / "variants/variants.json").read_text())
    assert told["task"] == "transcription" and told["speech"]["window_s"] == 6
    assert told["variants"]["fp32"]["max_abs_difference"] < 1e-3
    for row in told["variants"].values():
        folder = tiny_speech / "variants" / row["file"]
        assert row["encoder_bytes"] == (folder / "encoder.onnx").stat().st_size
        assert row["bytes"] == sum(f.stat().st_size for f in folder.iterdir())
        assert row["p50_ms_batch1"] > 0 and row["audio_s_per_s"] > 0 and row["wer_of3_val"] > 0
    assert told["variants"]["int8"]["smaller"] > 0.3
    [verdict] = read_verdicts(tiny_speech / "quantisation.json")
    assert verdict.figures["int8_decoder_bytes"] == told["variants"]["int8"]["decoder_bytes"]
    assert not (tiny_speech / "variants/bundle.json").exists()


def test_the_bundle_is_whole_and_says_what_it_can_do(tiny_speech):
    bundle = Bundle.read(tiny_speech / "bundle")
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


def test_a_split_without_utterances_is_named(tiny_speech, tmp_path):
    table = pd.read_parquet(tiny_speech / "utterances.parquet")
    table[table["split"] == "val"].to_parquet(tmp_path / "utterances.parquet")
    with pytest.raises(SluiceError, match="no utterance of split 'test'"):
        asked(tiny_speech / "audio.parquet", tmp_path / "utterances.parquet")


def test_errors_are_counted_by_word_and_the_commonest_confusions_named():
    keys = {"recording_id": "r", "speaker": "Ada", "condition": "clean", "seconds": 2.0}
    table = pd.DataFrame([{**keys, "utterance_id": i, "text": "The river runs."} for i in range(3)])
    found = count_errors(table, ["the river runs", "the liver runs", "the liver"], "en")
    assert found["errors"].tolist() == [0, 1, 2] and found["deletions"].tolist() == [0, 0, 1]
    assert figures(found, 3.0)["wer_test"] == pytest.approx(3 / 9) and figures(found, 3.0)["rtf_test"] == 0.5
    assert confusions(found)[0] == {"said": "river", "heard": "liver", "times": 2}
