import json
import shutil

import numpy as np
import pytest

from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.load import load
from serving.highlights import TASK
from serving.highlights.features import CENTROID, NAMES, of_texts, with_centroid
from serving.highlights.head import Head
from serving.highlights.schema import INPUTS, OUTPUTS, read
from serving.highlights.select import Selection, choose
from serving.highlights.text import from_segments, split, words

TEXT = (
    "Logging takes a while to learn. A handler sends each record to its destination. I had lunch. "
    "A formatter turns the record into text. Filters decide which record a handler may send. Good. "
    "A logger has a name and a level. Records below the level of the logger are dropped. See you tomorrow then. "
    "The root logger stands at the top of all names."
)


@pytest.fixture(scope="module")
def bundle(tiny_data, tmp_path_factory):
    """A bundle of task highlights: the bag-of-words encoder of the session, the untrained head."""
    folder = tmp_path_factory.mktemp("highlights")
    shutil.copytree(tiny_data / "variants", folder, dirs_exist_ok=True)
    told = json.loads((folder / "variants.json").read_text())
    Head.untrained(told["encoder"]["dim"]).write(folder)
    keep = {name: told[name] for name in ("base_model", "adapter", "encoder", "variants", "variant")}
    lineage, schemas = {"data": "0"}, {"inputs": INPUTS, "outputs": OUTPUTS}
    Bundle(system="lectures-highlights", task="highlights", lineage=lineage, **schemas, **keep).write(folder)
    return folder


@pytest.fixture(scope="module")
def predictor(bundle):
    found = load(bundle)
    yield found
    found.close()


def test_bullets_are_sentences_in_order_and_at_most_a_third_of_the_words(predictor):
    [result] = predictor.predict([predictor.parse({"text": TEXT})])
    numbers = [bullet["sentence"] for bullet in result["bullets"]]
    said = [sentence.text for sentence in split(TEXT)]
    assert numbers == sorted(set(numbers)) and [said[n] for n in numbers] == [b["text"] for b in result["bullets"]]
    assert 0 < result["length_ratio"] <= 0.3 and all(len(words(b["text"])) >= 4 for b in result["bullets"])
    assert all(b["start"] is None for b in result["bullets"])
    import jsonschema

    jsonschema.validate(result, OUTPUTS)


def test_a_batch_answers_as_each_alone(bundle):
    predictor = load(bundle, variant="fp32")  # INT8 scales activations by the batch: near ties may turn
    instances = [predictor.parse({"text": TEXT}), predictor.parse({"text": "One line only."})]
    both = predictor.predict(instances)
    assert both == [predictor.predict([instance])[0] for instance in instances]
    assert [bullet["text"] for bullet in both[1]["bullets"]] == ["One line only."]


def test_a_transcript_comes_back_with_the_bullets_and_their_times(predictor):
    texts = [sentence.text for sentence in split(TEXT)]
    segments = [{"id": i, "start": 5.0 * i, "end": 5.0 * i + 4, "text": f" {t}"} for i, t in enumerate(texts)]
    answer = {"text": TEXT, "language": "en", "duration": 50.0, "segments": segments}
    [result] = predictor.predict([predictor.parse(answer)])
    assert result["segments"] == segments and result["transcript"] == TEXT and result["language"] == "en"
    for bullet in result["bullets"]:
        assert bullet["start"] == pytest.approx(5.0 * bullet["sentence"], abs=0.01)
        assert bullet["end"] == pytest.approx(5.0 * bullet["sentence"] + 4)
    joined = TASK.join(answer, result)
    assert "text" not in joined and joined["duration"] == 50.0 and joined["bullets"] == result["bullets"]


def test_a_silent_recording_has_no_bullets(predictor):
    for segments in ([], [{"start": 0, "end": 3, "text": " "}]):
        [result] = predictor.predict([predictor.parse({"text": "", "segments": segments})])
        assert result["bullets"] == [] and result["length_ratio"] == 0


def test_people_may_say_how_many_bullets(predictor):
    [one] = predictor.predict([predictor.parse({"text": TEXT, "max_bullets": 1.0})])
    assert len(one["bullets"]) == 1


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ([], "JSON object"),
        ({}, "nothing to summarise"),
        ({"text": "   "}, "no words"),
        ({"text": 3}, "'text' must be a text"),
        ({"text": "A.", "max_bulets": 2}, "'max_bulets'"),
        ({"text": "A.", "max_bullets": 0}, "expected 1 to 100"),
        ({"text": "A.", "max_bullets": True}, "whole number"),
        ({"text": "A.", "max_bullets": 2.5}, "whole number"),
        ({"text": "A \ud800."}, "surrogate"),
        ({"sentences": []}, "not be empty|not empty"),
        ({"sentences": ["A."]}, "object with 'text'"),
        ({"sentences": [{"text": "A."}, {"text": " "}]}, "empty text"),
        ({"sentences": [{"text": "A.", "start": "0:10"}]}, "'start' must be a number"),
        ({"sentences": [{"text": "A.", "end": float("nan")}]}, "'end' must be a number"),
        ({"sentences": [{"text": "A."}] * 5001}, "at most 5000"),
        ({"sentences": [{"text": "A" * 5001}]}, "at most 5000"),
    ],
)
def test_what_is_wrong_is_named(payload, told):
    with pytest.raises(SluiceError, match=told):
        read(payload)


def test_null_and_empty_optional_fields_mean_their_default(predictor):
    plain = predictor.parse({"text": "One is here. Two is there."})
    for nothing in (None, ""):
        assert (
            predictor.parse({"text": "One is here. Two is there.", "max_bullets": nothing, "segments": nothing})
            == plain
        )
        row = {"text": "One is here.", "start": nothing, "end": nothing}
        assert predictor.parse({"sentences": [row], "text": nothing})["sentences"] == [("One is here.", None, None)]


def test_scripts_without_blanks_have_sentences_and_words_too():
    assert [s.text for s in split("今天我们讲树。明天讲图！ 好吗？")] == ["今天我们讲树。", "明天讲图！", "好吗？"]
    spoken = [{"text": "今天讲树。明天", "start": 0.0, "end": 7.0}, {"text": "讲图。", "start": 7.0, "end": 10.0}]
    assert [s.text for s in from_segments(spoken)] == ["今天讲树。", "明天讲图。"]
    assert words("讲树 of Trees") == ["讲树", "of", "trees"] and words("我们讲") == ["我们", "们讲"]


def test_sentences_run_over_segments_where_there_is_punctuation():
    segments = [
        {"start": 0.0, "end": 2.0, "text": "The tide comes"},
        {"start": 2.0, "end": 4.0, "text": "twice a day. The moon"},
        {"start": 4.0, "end": 6.0, "text": "pulls on the sea."},
    ]
    found = from_segments(segments)
    assert [s.text for s in found] == ["The tide comes twice a day.", "The moon pulls on the sea."]
    assert found[0].start == 0 and 2 < found[0].end < 4 and found[0].end <= found[1].start and found[1].end == 6


def test_word_times_are_exact_where_the_transcript_has_them():
    spoken = [{"word": w, "start": at, "end": at + 0.5} for at, w in enumerate(["It", "rains.", "Go", "in."])]
    [one, two] = from_segments([{"start": 0, "end": 9, "text": "It rains. Go in.", "words": spoken}])
    assert (one.start, one.end, two.start, two.end) == (0, 1.5, 2, 3.5)


def test_bare_segments_are_sentences_and_long_bare_text_is_cut():
    segments = [{"text": "the moon pulls", "start": 0, "end": 1}, {"text": "the sea follows", "start": 1, "end": 2}]
    assert [s.text for s in from_segments(segments)] == ["the moon pulls", "the sea follows"]
    assert [len(s.text.split()) for s in split("word " * 130)] == [60, 60, 10]
    assert [s.text for s in split("Dr. Ito met J. Smith at 3.5 km. Really?\nYes")] == [
        "Dr. Ito met J. Smith at 3.5 km.", "Really?", "Yes",
    ]  # fmt: skip


def test_a_repeated_sentence_is_chosen_once():
    vectors = np.eye(4, dtype=np.float32)[[0, 0, 1, 2, 3, 3, 3, 3, 3]]
    scores = np.array([3.0, 2.9, 2.5, -1, -1, -1, -1, -1, -1], np.float32)
    assert choose(scores, vectors, [10] * 9, Selection(share=0.25)) == [0, 2]
    assert choose(scores, vectors, [10] * 9, Selection(share=0.25, redundancy=0.0)) == [0, 1]


def test_bullets_stay_within_the_length_allowed_but_there_is_always_one():
    scores, vectors = np.array([5.0, 4.0, 3.0, 2.0]), np.zeros((4, 1), np.float32)
    assert choose(scores, vectors, [50, 20, 20, 10], Selection(redundancy=0.0), most=3) == [1, 3]
    assert choose(scores[:1], vectors[:1], [8], Selection()) == [0]
    assert choose(scores, vectors, [6, 6, 6, 1], Selection()) == [0]
    assert choose(np.zeros(0), np.zeros((0, 4)), [], Selection()) == []


def test_features_are_finite_for_any_document():
    for texts in ([""], ["!"], ["a"] * 3, ["Größe 3,5 km", "注意力", "🙂 ok"], [*TEXT.split(". ")]):
        vectors = np.ones((len(texts), 4), np.float32) / 2
        found = with_centroid(of_texts(texts), vectors)
        assert found.shape == (len(texts), len(NAMES)) and np.isfinite(found).all()


def test_the_untrained_head_prefers_what_is_central():
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    scores = Head.untrained(2).score(vectors, with_centroid(of_texts(["a b", "c d", "e f"]), vectors))
    assert scores.argmax() == 1 and with_centroid(of_texts(["a"]), vectors[:1])[0, CENTROID] == 0


def test_a_head_survives_its_file_and_another_versions_head_is_refused(tmp_path):
    random = np.random.default_rng(0)
    width = 3 + len(NAMES)
    shapes = ((3,), (len(NAMES),), (width, 2), (2,), (2,))
    head = Head(*(random.normal(size=shape).astype(np.float32) for shape in shapes), Selection(share=0.2))
    head.write(tmp_path)
    again, vectors, features = Head.read(tmp_path), random.normal(size=(5, 3)), random.normal(size=(5, len(NAMES)))
    assert again.selection.share == 0.2
    assert np.allclose(again.score(vectors, features), head.score(vectors, features), atol=1e-4)
    told = json.loads((tmp_path / "head.json").read_text())
    (tmp_path / "head.json").write_text(json.dumps(told | {"features": told["features"][1:]}))
    with pytest.raises(SluiceError, match="not the head of this version"):
        Head.read(tmp_path)
