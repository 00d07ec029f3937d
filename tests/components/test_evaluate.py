import json
import shutil

import numpy as np
import pandas as pd
import pytest

from components.common.page import page_data
from components.common.scores import interval, resampled_means
from components.evaluate.evaluate import evaluate_files
from components.pack.run import pack
from components.tasks.retrieval.evaluating import asked
from components.tasks.retrieval.evaluating.answers import score
from components.tasks.retrieval.evaluating.calibration import (
    auroc,
    auroc_interval,
    bins_for,
    brier,
    ece_interval,
    expected_calibration_error,
    reliability,
    risk_coverage,
)
from components.tasks.retrieval.evaluating.failures import MODES, explain
from components.tasks.retrieval.evaluating.ranks import per_question
from serving.contract.errors import SluiceError

DAY = pd.Timestamp("2026-01-02", tz="UTC")


def test_scores_follow_their_definitions():
    rank = np.array([1, 2, 5, 11])
    assert per_question(rank, "mrr") == pytest.approx([1, 1 / 2, 1 / 5, 1 / 11])
    assert per_question(rank, "recall@5").tolist() == [1, 1, 1, 0]
    assert per_question(rank, "ndcg@10") == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(6), 0])


def test_the_bootstrap_interval_is_the_normal_one_where_that_holds():
    values = np.random.default_rng(0).random(500)
    found = interval(values, 4000)
    error = values.std() / np.sqrt(500)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)


def test_columns_of_one_sample_are_drawn_from_the_same_rows():
    values = np.random.default_rng(0).random(50)
    means = resampled_means(np.column_stack([values, values + 1]), 200, 0)
    assert means[:, 1] - means[:, 0] == pytest.approx(np.ones(200))


def test_a_calibrated_confidence_has_next_to_no_error_and_an_overconfident_one_has_its_excess():
    rng = np.random.default_rng(0)
    confidence = rng.random(20_000)
    right = rng.random(20_000) < confidence
    assert expected_calibration_error(reliability(confidence, right)) < 0.02
    sure = np.full(1000, 0.9)
    half = np.arange(1000) % 2 == 0
    assert expected_calibration_error(reliability(sure, half)) == pytest.approx(0.4, abs=0.02)
    assert brier(sure, half) == pytest.approx((0.1**2 + 0.9**2) / 2)


def test_auroc_is_the_chance_that_a_right_answer_has_more_confidence():
    confidence, right = np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False])
    assert auroc(confidence, right) == pytest.approx((1 + 1 + 0.5 + 1) / 4)
    assert auroc(confidence, ~right) == pytest.approx(0.5 / 4)
    assert np.isnan(auroc(confidence, np.ones(4, bool)))
    rng = np.random.default_rng(1)
    many = rng.random(400)
    found = auroc_interval(many, rng.random(400) < many, 500, 0)
    assert found.low < 5 / 6 < found.high  # of a uniform confidence that is calibrated
    assert 0.02 < found.high - found.low < 0.12


def test_the_interval_of_the_calibration_error_leaves_out_what_is_chance():
    rng = np.random.default_rng(2)
    confidence = rng.random(180)
    bins = bins_for(180, 10)
    good = ece_interval(confidence, rng.random(180) < confidence, bins, 500, 0)
    bad = ece_interval(confidence, rng.random(180) < confidence**4, bins, 500, 0)
    assert bins == 6 and good.low < 0.08 < good.mean and bad.low > 0.1
    assert bins_for(10, 10) == 2 and bins_for(5000, 10) == 10


def test_an_extracted_answer_is_scored_as_in_reading_comprehension():
    assert score("The cat sat.", ["a cat sat"]) == (1, 1, 1)
    em, f1, held = score("Cats sleep. The cat sat on it!", ["cat sat"])
    assert (em, held) == (0, 1) and f1 == pytest.approx(2 * 2 / (6 + 2))
    assert score("cat", ["dog", "cat sat"]) == (0, pytest.approx(2 / 3), 0) and score("", ["cat"]) == (0, 0, 0)
    assert score("cat", [""]) == (0, 0, 0)


def test_a_confidence_that_knows_its_errors_lowers_risk_by_abstaining():
    confidence = np.linspace(0, 1, 100)
    curve = risk_coverage(confidence, confidence > 0.3)
    assert curve.risk[0] == 0
    assert curve.risk[-1] == pytest.approx((confidence <= 0.3).mean())
    assert curve.area < curve.risk[-1]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A small code base of invented words, its questions, and a bundle whose encoder averages word vectors."""
    place = tmp_path_factory.mktemp("source")
    passages = make_passages()
    questions = make_questions(passages)
    features = passages[["passage_id", "kind"]].assign(
        n_tokens=passages["n_tokens"].astype("int64"),
        documented=1,
        changed_day=20_000,
        n_changes=0,
        shown=0,
        up=0,
        down=0,
    )
    features.to_parquet(place / "snapshot.parquet")
    features.assign(event_timestamp=DAY).to_parquet(place / "frame.parquet", coerce_timestamps="us")
    passages.to_parquet(place / "passages.parquet", coerce_timestamps="us")
    questions.to_parquet(place / "questions.parquet", coerce_timestamps="us")
    make_encoder(place / "variants", passages["text"].tolist() + questions["question"].tolist())
    variants, *tables = (place / name for name in ("variants", "passages.parquet", "questions.parquet"))
    features = (place / "frame.parquet", place / "snapshot.parquet")
    pack(variants, *tables, {"system": "books", "workers": 1}, place / "bundle", *features)
    return place


def make_passages(n: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        words = [f"word{w}" for w in rng.choice(300, 12, replace=False)]
        doc = f"Does {' '.join(words[:5])}."
        rows.append(
            {
                "passage_id": f"{i:016x}",
                "path": f"pkg/file{i // 3}.py",
                "name": f"Thing{i}.run" if i % 4 == 0 else f"make_{i}",
                "kind": "function",
                "signature": f"def make_{i}()",
                "doc": doc,
                "body": " ".join(words),
                "text": f"def make_{i}()\n{doc}\n{' '.join(words[3:])}",
                "summary": doc,
                "start_line": i,
                "end_line": i + 9,
                "commit": "",
                "url": "",
                "n_tokens": 20,
                "documented": True,
                "n_changes": 0,
                "changed_at": DAY,
                "split": "train",
            }
        )
    return pd.DataFrame(rows)


def make_questions(passages: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for i, row in enumerate(passages.to_dict("records")):
        split = ("val", "test", "persona")[i % 3]
        rows.append(
            {
                "question_id": f"q{i}",
                "question": f"What {' '.join(row['doc'].strip('.').split()[1:])}?",
                "answer": row["doc"],
                "gold": [row["passage_id"]],
                "path": row["path"],
                "category": ("what", "how")[i % 2],
                "withheld": "" if split == "persona" else row["doc"],
                "split": split,
                "origin": "persona" if split == "persona" else "rule",
                "persona": ("novice", "researcher")[i % 2] if split == "persona" else "",
                "asked_at": DAY,
            }
        )
    return pd.DataFrame(rows)


def make_encoder(directory, texts):
    """A true ONNX encoder: word vectors, mean over the words, unit length."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = sorted({w for t in texts for w in pre_tokenizers.Whitespace().pre_tokenize_str(t) for w in [w[0]]})
    vocabulary = {"[PAD]": 0, "[UNK]": 1, **{w: i + 2 for i, w in enumerate(words)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    (directory / "encoder").mkdir(parents=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    table = np.random.default_rng(0).normal(size=(len(vocabulary), 16)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["weight"]),
        helper.make_node("Mul", ["words", "weight"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["total"], keepdims=0),
        helper.make_node("LpNormalization", ["total"], ["embedding"], axis=-1, p=2),
    ]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "t"]) for n in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["b", 16])]
    constants = {"table": table, "last": np.array([2]), "middle": np.array([1])}
    parts = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "words", inputs, outputs, parts)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9),
        directory / "encoder/int8.onnx",
    )
    size = (directory / "encoder/int8.onnx").stat().st_size
    about = {
        "task": "retrieval",
        "encoder": {"pooling": "mean", "normalize": True, "dim": 16, "max_tokens": 64},
        "base_model": "words",
        "adapter": None,
        "variants": {"int8": {"file": "encoder/int8.onnx", "bytes": size}},
        "variant": "int8",
    }
    (directory / "variants.json").write_text(json.dumps(about))


def run(source, out, **settings):
    chosen = {"resamples": 200, "threads": 1, **settings}
    files = (source / "bundle", source / "passages.parquet", source / "questions.parquet")
    figures = evaluate_files(
        *files, chosen, *(out / name for name in ("predictions.parquet", "page.html", "asked.jsonl"))
    )
    return figures, pd.read_parquet(out / "predictions.parquet")


def test_a_bundle_is_measured_as_it_is_served(source, tmp_path):
    figures, predictions = run(source, tmp_path)
    assert len(predictions) == 3 * 60
    assert set(predictions.groupby(["set", "retriever"]).size()) == {30}
    persona = predictions[(predictions["set"] == "persona") & (predictions["retriever"] == "dense")]
    assert figures["dense_mrr_full_persona"] == pytest.approx((1 / persona["rank"]).mean())
    assert figures["recall@10_full_persona"] > 0.9  # the served index holds the very sentence
    assert figures["mrr_full_withheld"] < figures["mrr_full_persona"]  # the test set's texts do not
    served = predictions[predictions["retriever"] == "served"]
    assert served["confidence"].between(0, 1).all()
    assert predictions[predictions["retriever"] == "bm25"]["confidence"].isna().all()
    assert (served["correct"] == (served["rank"] == 1)).all()
    assert all(0 <= figures[f"{name}_withheld"] <= 1 for name in ("confidence_auroc", "confidence_auroc_low", "ece"))
    assert 0 <= figures["ece_low_persona_held_out"] <= figures["ece_persona_held_out"]
    assert figures["answer_f1_persona_held_out"] >= figures["answer_em_persona_held_out"]
    assert (
        figures["answer_sentence_test_served"] > 0.5
    )  # the sentence stands in the served index, not in the ranked one


def test_what_nothing_answers_shows_in_confidence_only(source, tmp_path):
    questions = pd.read_parquet(source / "questions.parquet")
    nowhere = questions[questions["split"] == "persona"].head(8).copy()
    nowhere["question_id"] = [f"n{at}" for at in range(8)]
    nowhere["question"] = [f"Where can I rent {word} in Lisbon?" for word in "abcdefgh"]
    nowhere["gold"], nowhere["path"], nowhere["answer"] = [[]] * 8, "", ""
    shutil.copytree(source / "bundle", tmp_path / "bundle")
    shutil.copy(source / "passages.parquet", tmp_path)
    pd.concat([questions, nowhere]).to_parquet(tmp_path / "questions.parquet")
    figures, predictions = run(tmp_path, tmp_path)
    assert (predictions["set"] == "unanswerable").sum() == 8
    assert 0 <= figures["abstained_unanswerable_persona_held_out"] <= 1
    before, _ = run(source, tmp_path)
    same = ("mrr_full_persona", "ece_persona_held_out", "answer_f1_persona_held_out")
    assert [figures[name] for name in same] == [before[name] for name in same]
    assert {row["question_id"] for row in nowhere.to_dict("records")}.isdisjoint(
        row["id"] for row in asked(tmp_path / "passages.parquet", tmp_path / "questions.parquet")
    )


def test_the_page_stands_alone_and_carries_what_the_final_report_needs(source, tmp_path):
    run(source, tmp_path)
    html = (tmp_path / "page.html").read_text()
    data = page_data(html)
    assert data["bundle"]["system"] == "books"
    assert data["counts"] == {"passages": 90, "test questions": 30, "persona questions": 30}
    assert html.count("<svg") >= 3
    asked = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    assert len(asked) == 30 and {row["task"] for row in asked} == {"retrieval"}
    assert asked[0]["instance"].keys() == {"question"} and asked[0]["expect"]["paths"] and asked[0]["persona"]
    assert 'src="http' not in html and "@import" not in html and "<link" not in html


def test_too_few_persona_questions_are_joined_by_test_questions_and_always_the_same(source, tmp_path):
    questions = pd.read_parquet(source / "questions.parquet")
    persona = questions["split"] == "persona"
    pd.concat([questions[persona].head(3), questions[~persona]]).to_parquet(tmp_path / "few.parquet")
    rows = asked(source / "passages.parquet", tmp_path / "few.parquet")
    assert [bool(row["persona"]) for row in rows] == [True] * 3 + [False] * 30
    assert rows == asked(source / "passages.parquet", tmp_path / "few.parquet")
    [path] = rows[0]["expect"]["paths"]
    assert path.startswith("pkg/")
    questions.assign(places=[["also/here.py"]] * len(questions)).to_parquet(tmp_path / "few.parquet")
    told = asked(source / "passages.parquet", tmp_path / "few.parquet")
    assert all("also/here.py" in row["expect"]["paths"] and len(row["expect"]["paths"]) == 2 for row in told)
    questions[questions["split"] == "val"].to_parquet(tmp_path / "few.parquet")
    with pytest.raises(SluiceError, match="nothing to ask"):
        asked(source / "passages.parquet", tmp_path / "few.parquet")


def test_the_same_bundle_gives_the_same_predictions(source, tmp_path):
    one, two = (run(source, tmp_path / name)[1] for name in ("a", "b"))
    pd.testing.assert_frame_equal(one, two)


def test_questions_without_an_answer_in_the_source_are_left_out_and_personas_may_be_missing(source, tmp_path):
    questions = pd.read_parquet(source / "questions.parquet")
    persona = questions["split"] == "persona"
    few = questions.copy()
    few.loc[persona & (few["category"] == "how"), "gold"] = pd.Series([["f" * 16]] * len(few))
    few.to_parquet(tmp_path / "questions.parquet")
    files = (source / "bundle", source / "passages.parquet", tmp_path / "questions.parquet")
    settings = {"resamples": 100, "threads": 1}
    outputs = [tmp_path / name for name in ("p.parquet", "page.html", "asked.jsonl")]
    evaluate_files(*files, settings, *outputs)
    assert (pd.read_parquet(tmp_path / "p.parquet")["set"] == "persona").sum() == 3 * 15
    questions[~persona].to_parquet(tmp_path / "questions.parquet")
    figures = evaluate_files(*files, settings, *outputs)
    assert "mrr_full_withheld" in figures and "mrr_full_persona" not in figures
    questions[questions["split"] == "val"].to_parquet(tmp_path / "questions.parquet")
    with pytest.raises(SluiceError, match="split 'test'"):
        evaluate_files(*files, settings, *outputs)


def test_every_miss_gets_the_first_reason_that_holds(source):
    passages = pd.read_parquet(source / "passages.parquet")
    questions = pd.read_parquet(source / "questions.parquet")
    passages.loc[50, "documented"] = False
    passages.loc[13, ["path", "name"]] = passages.loc[12, ["path", "name"]].to_list()
    ids = passages["passage_id"]
    found = {"q0": ids[1], "q4": ids[8], "q50": ids[10], "q61": ids[10], "q12": ids[13]}
    misses = pd.DataFrame(
        {
            "question_id": list(found),
            "set": "test",
            "retriever": "served",
            "correct": False,
            "rank": [2, 2, 2, 30, 2],
            "confidence": 0.5,
            "top": [[top] for top in found.values()],
        }
    )
    explained = explain(misses, passages, questions, window=64)
    assert explained["mode"].tolist() == [
        "right file, other symbol",
        "same name, other file",
        "wanted passage is undocumented",
        "lost",
        "right symbol, other part",
    ]
    assert set(explained["mode"]) <= set(MODES)
