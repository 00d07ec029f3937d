import json

import numpy as np
import pytest
from kfp.dsl import HTML, Artifact, Dataset, Model
from tiny_encoder import make_base, make_tables

from components.common.encoder import TorchEncoder
from components.quantize.component import quantize
from components.quantize.run import quantize as quantize_files
from components.quantize.variants import QuantizeSettings, choose, judge
from components.tasks.retrieval.learning.data import read_tables
from components.tasks.retrieval.quantising import Field
from serving.contract.errors import SluiceError
from serving.contract.verdict import read_verdicts
from serving.core.onnx_encoder import OnnxEncoder


def figures(**int8):
    common = {"bytes": 100, "texts_per_s": 1.0, "max_abs_difference": 1e-7}
    fp32 = {**common, "bytes": 400, "smaller": 0.0, "retained": 1.0, "p50_ms_batch1": 4.0}
    return {"fp32": fp32, "int8": {**common, "smaller": 0.75, "retained": 0.995, "p50_ms_batch1": 1.0, **int8}}


def test_the_faster_variant_that_keeps_quality_is_served():
    verdict = judge(figures(), QuantizeSettings())
    assert verdict.passed and verdict.gate == "quantisation" and verdict.figures["chosen"] == "int8"
    assert "75.0% smaller, 4.0x as fast" in verdict.reason


@pytest.mark.parametrize(
    ("worse", "passed", "served", "words"),
    [
        ({"retained": 0.98}, False, "fp32", "keeps 98.0%"),
        ({"smaller": 0.7}, False, "fp32", "70.0% smaller"),
        ({"p50_ms_batch1": 5.0}, True, "fp32", "fp32 is served"),
        ({"p50_ms_batch1": 4.2}, True, "int8", "int8 is served"),
    ],
)
def test_a_variant_that_loses_quality_size_or_speed_is_not_served(worse, passed, served, words):
    verdict = judge(figures(**worse), QuantizeSettings())
    assert verdict.passed is passed and words in verdict.reason
    assert choose(figures(**worse), QuantizeSettings()) == verdict.figures["chosen"] == served


def test_an_export_that_differs_from_torch_stops_the_release():
    rows = figures()
    rows["fp32"]["max_abs_difference"] = 0.26
    verdict = judge(rows, QuantizeSettings())
    assert not verdict.passed and "differs from torch by 2.6e-01" in verdict.reason


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quantize")
    passages, questions = make_tables(folder)
    base = make_base(folder)
    target = folder / "variants"
    quantize.python_func(
        model=Model(uri=str(base)),
        corpus=Dataset(uri=str(passages)),
        examples=Dataset(uri=str(questions)),
        settings={"repeats": 5.0, "static": True, "min_smaller": 0.5},
        variants=Model(uri=str(target)),
        verdict=Artifact(uri=str(folder / "verdict.json")),
        report=HTML(uri=str(folder / "report.html")),
    )
    return folder, base, passages, questions


def test_the_graph_repeats_torch_at_every_shape(room):
    folder, base, _, _ = room
    encoder, torch_encoder = OnnxEncoder(folder / "variants", "encoder/fp32.onnx", 1, 130), TorchEncoder(base)
    for texts in (["one"], ["short", "a longer text " * 20], ["word " * 300], ["a", "b c", "d e f", "g"]):
        assert np.abs(encoder.encode(texts) - torch_encoder.encode(texts)).max() < 1e-5
    norms = np.linalg.norm(OnnxEncoder(folder / "variants", "encoder/int8.onnx").encode(["a b", "c"]), axis=1)
    assert np.allclose(norms, 1, atol=1e-4)


def test_variants_json_says_what_was_measured(room):
    folder, *_ = room
    told = json.loads((folder / "variants/variants.json").read_text())
    assert told["encoder"] == {"pooling": "mean", "normalize": True, "dim": 32, "max_tokens": 130}
    assert set(told["variants"]) == {"fp32", "int8", "int8_static"} and told["variant"] in told["variants"]
    for row in told["variants"].values():
        assert (folder / "variants" / row["file"]).stat().st_size == row["bytes"]
        assert row["p50_ms_batch1"] > 0 and row["texts_per_s"] > 0 and 0 <= row["recall@10_full_withheld_val"] <= 1
    assert told["variants"]["int8"]["smaller"] > 0.7
    [verdict] = read_verdicts(folder / "verdict.json")
    assert verdict.figures["int8_bytes"] == told["variants"]["int8"]["bytes"]
    assert "Quantisation" in (folder / "report.html").read_text()


def test_quality_is_ranked_among_all_validation_passages_or_says_among_how_many(room):
    _, _, passages, questions = room
    tables = read_tables(passages, questions)
    field = Field(*tables, 100, 0, 1)
    assert field.protocol == "full_withheld_val" and len(field.passages) == 18 and len(field.questions) == 12
    assert Field(*tables, 4, 10, 1).protocol == "of10_withheld_val"
    one_hot = {text: np.eye(40)[at] for at, text in enumerate(dict.fromkeys(field.passages + field.questions))}

    class Perfect:
        def encode(self, texts):
            gold = {field.questions[at]: field.passages[rows[0]] for at, rows in enumerate(field.golds)}
            return np.array([one_hot[gold.get(text, text)] for text in texts])

    assert field.recall(Perfect())["recall@10_full_withheld_val"] == 1


def test_a_missing_model_is_named_and_nothing_is_written(room, tmp_path):
    _, _, passages, questions = room
    with pytest.raises(SluiceError, match="no sluice.json"):
        quantize_files(tmp_path, passages, questions, {}, tmp_path / "v", tmp_path / "j", tmp_path / "h")
    assert not list(tmp_path.iterdir())
