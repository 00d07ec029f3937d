from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator

from serving.contract.errors import SluiceError
from serving.contract.load import load
from serving.retrieval.answer import Answers, passage_sentences
from serving.retrieval.bm25 import Bm25
from serving.retrieval.calibration import Calibration, margins, probabilities
from serving.retrieval.passages import withhold
from serving.retrieval.ranker import Candidates, Ranker, best, candidates, passage_features
from serving.retrieval.ranking import gold_ranks, served_ranks
from serving.retrieval.retriever import Retriever
from serving.retrieval.text import sentences, words


@pytest.fixture(scope="module")
def retriever(tiny_bundle: Path) -> Iterator[Retriever]:
    opened = load(tiny_bundle)
    assert isinstance(opened, Retriever)
    yield opened
    opened.close()


def test_an_answer_has_the_shape_the_bundle_promises(retriever: Retriever) -> None:
    instances = [retriever.parse({"question": "What formats a record?", "top_k": 3}),
                 retriever.parse({"question": "Which error are people meant to read?"})]  # fmt: skip
    results = retriever.predict(instances)
    for result in results:
        Draft202012Validator(retriever.bundle.outputs).validate(result)
    assert [len(result["sources"]) for result in results] == [3, 5]
    scores = [source["score"] for source in results[1]["sources"]]
    assert scores == sorted(scores, reverse=True) and 0 < sum(scores) <= 1.001


def test_a_question_in_a_passages_own_words_finds_it_and_quotes_it(retriever: Retriever) -> None:
    columns = retriever.index.columns
    row = columns["name"].index("LoggerAdapter")
    question = columns["doc"][row].split("\n")[0]
    result = retriever.predict([retriever.parse({"question": question})])[0]
    assert result["sources"][0]["passage_id"] == columns["passage_id"][row]
    assert result["sources"][0]["path"] == "logging/__init__.py"
    assert not result["abstained"] and result["answer"]
    quoted = {" ".join(source["text"].split()) for source in result["sources"][:3]}
    assert any(result["answer"].split(". ")[0] in text for text in quoted)


def test_below_the_threshold_it_abstains_but_still_shows_its_sources(
    retriever: Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retriever, "calibration", replace(retriever.calibration, threshold=0.999))
    result = retriever.predict([retriever.parse({"question": "recipes with chocolate"})])[0]
    assert result["abstained"] and result["answer"] == "" and result["sources"]
    assert result["confidence"] < retriever.calibration.threshold


def test_a_batch_answers_as_single_questions_do(retriever: Retriever) -> None:
    instances = [retriever.parse({"question": q}) for q in ("what is a verdict?", "read a bundle", "home directory")]
    alone = [retriever.predict([instance])[0] for instance in instances]
    for together, single in zip(retriever.predict(instances), alone, strict=True):
        assert together["sources"][0]["passage_id"] == single["sources"][0]["passage_id"]
        assert together["confidence"] == pytest.approx(single["confidence"], abs=0.05)  # int8 scales by the batch


@pytest.mark.parametrize(
    ("payload", "says"),
    [({}, "'question' is missing"), ({"question": 5}, "'question' is 5; expected text of 1 to 2000"),
     ({"question": " \n"}, "not blank"), ({"question": "x" * 2001}, "a text of 2001 characters"),
     ({"question": "x", "top_k": 0}, "'top_k' is 0; expected a whole number"),
     ({"question": "x", "topk": 3}, "unknown field 'topk'"), ({"question": "\ud800"}, "valid Unicode"),
     ({"question": "x", "top_k": True}, "'top_k' is True"), (["x"], "must be a JSON object")],
)  # fmt: skip
def test_a_bad_instance_is_told_what_is_wrong(retriever: Retriever, payload: object, says: str) -> None:
    with pytest.raises(SluiceError) as caught:
        retriever.parse(payload)  # type: ignore[arg-type]
    assert says in str(caught.value)


def test_defaults_are_filled_in_and_whole_floats_are_numbers(retriever: Retriever) -> None:
    assert retriever.parse({"question": "x"}) == {"question": "x", "top_k": 5, "path": ""}
    assert retriever.parse({"question": "x", "top_k": 3.0})["top_k"] == 3


def test_ranks_agree_with_rankings_sorted_in_full(retriever: Retriever) -> None:
    questions = ["what is a verdict?", "how is a directory replaced?", "which batch runs next?"]
    ids = retriever.index.ids
    gold = [[ids[3]], [ids[40], ids[7]], ["unknown"]]
    # One at a time: int8 scales activations by the batch, so near ties may swap between batches.
    best = [int(retriever.ranks([q], [g]).best["dense"][0]) for q, g in zip(questions, gold, strict=True)]
    dense = np.concatenate([retriever.index.dense(retriever.embed([q])) for q in questions])
    order = [np.argsort(-line, kind="stable").tolist() for line in dense]
    expected = [order[0].index(3) + 1, min(order[1].index(40), order[1].index(7)) + 1, len(ids) + 1]
    assert best == expected
    served = retriever.predict([{"question": q, "top_k": 5} for q in questions])
    ranks = retriever.ranks(questions, gold, batch=2)
    assert [top[0] for top in ranks.top["served"]] == [result["sources"][0]["passage_id"] for result in served]
    places = [[(source["path"], source["name"]) for source in result["sources"]] for result in served]
    assert all(len(set(five)) == len(five) == 5 for five in places)
    assert ranks.confidence.dtype == np.float32 and ranks.abstained.shape == (3,)


def test_withheld_sentences_are_cut_and_reindexing_keeps_the_rest(retriever: Retriever, tiny_data: Path) -> None:
    passages, questions = (pd.read_parquet(tiny_data / f"{name}.parquet") for name in ("passages", "questions"))
    cut = withhold(passages, questions)
    assert (cut["text"] != passages["text"]).mean() > 0.9
    again = retriever.reindex(cut)
    assert again.index.columns["text"] == cut["text"].tolist() and len(again.index) == len(retriever.index)
    asked, gold = questions["question"].tolist(), questions["gold"].tolist()
    assert (again.ranks(asked, gold).best["bm25"] == 1).mean() < (retriever.ranks(asked, gold).best["bm25"] == 1).mean()


def test_reindexing_takes_passages_the_bundle_never_saw(retriever: Retriever, tiny_data: Path) -> None:
    new = (
        pd.read_parquet(tiny_data / "passages.parquet")
        .head(3)
        .assign(passage_id=["x", "y", "z"], text=["aa", "bb", "cc"])
    )
    again = retriever.reindex(new)
    assert (
        again.index.ids == ["x", "y", "z"] and again.features.columns()["n_tokens"].tolist() == new["n_tokens"].tolist()
    )


def test_withholding_ignores_line_breaks_and_markup_between_words() -> None:
    passages = pd.DataFrame(
        {"passage_id": ["a", "b"], "text": ["def f()\nReads `the\n    file`, fast. More.", "Reads the file, fast."]}
    )
    questions = pd.DataFrame({"gold": [["a"]], "withheld": ["Reads the file, fast."]})
    assert [" ".join(text.split()) for text in withhold(passages, questions)["text"]] == [
        "def f() More.",
        "Reads the file, fast.",
    ]


def test_withholding_says_which_column_is_missing() -> None:
    with pytest.raises(
        SluiceError, match=r"passages\.parquet: no column 'text', only passage_id \(see components/ingest\)"
    ):
        withhold(pd.DataFrame({"passage_id": []}), pd.DataFrame({"gold": [], "withheld": []}))


def test_words_of_code_are_split_and_kept_whole() -> None:
    assert words("AutoModelForCausalLM") == ["auto", "model", "causal", "lm", "automodelcausallm"]
    assert words("What are the max_new_tokens?") == ["max", "new", "token", "maxnewtoken"]


def test_bm25_is_the_sum_of_lucenes_weights(tmp_path: Path) -> None:
    texts = ["red fish", "red red bird", "blue bird sings loud"]
    index = Bm25.build(texts)
    index.save(tmp_path)
    scores = Bm25.open(tmp_path).scores(["red bird", "unheard"])
    idf = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    tf = [c / (c + 1.2 * (0.25 + 0.75 * n / 3)) for c, n in ((1, 2), (2, 3), (1, 3), (1, 4))]
    np.testing.assert_allclose(scores[0], [idf * tf[0], idf * (tf[1] + tf[2]), idf * tf[3]], rtol=1e-5)
    assert not scores[1].any()


def test_sentences_leave_code_out_and_split_arguments() -> None:
    doc = """Reads a file, e.g. text. It is fast.

    ```py
    x = 1
    ```
    Args:
        path (`str`):
            Where the file is.
    >>> read()"""
    assert sentences(doc) == ["Reads a file, e.g. text.", "It is fast.", "path (`str`): Where the file is."]


def test_only_sentences_in_the_indexed_text_are_quoted() -> None:
    columns = {"doc": ["One two three. Four five six.", ""], "text": ["x\nOne two\nthree. y", "z"]}
    texts, starts = passage_sentences(columns, most=4)
    assert texts == ["One two three."] and starts.tolist() == [0, 1, 1]
    printed = "[{'text': 'a b c'}, {'text': 'd e f'}]"
    texts, _ = passage_sentences({"doc": [f"Says it now.\n\n{printed}"], "text": [f"Says it now. {printed}"]}, most=4)
    assert texts == ["Says it now."]


def sentences_of(texts: list[str], starts: list[int], cosines: list[float]) -> tuple[Answers, np.ndarray]:
    """Sentences with these cosines to the query that is returned, each pointing elsewhere for the rest."""
    vectors = np.diag(np.sqrt(1 - np.square(cosines)))
    vectors = np.column_stack([np.asarray(cosines), vectors]).astype(np.float32)
    return Answers(texts, np.asarray(starts), vectors.astype(np.float16)), np.eye(1, len(texts) + 1, dtype=np.float32)[
        0
    ]


def test_the_best_sentences_source_speaks_first_and_repeats_are_dropped() -> None:
    answers, query = sentences_of(["first", "second", "other", "far"], [0, 2, 3, 4], [0.72, 0.84, 0.82, 0.1])
    assert answers.compose(query, {}, [1, 0], [0.1, 0.1], ["line"]) == "other"
    assert answers.compose(query, {}, [1, 0], [0.1, 0.5], ["line"]) == "first second other"
    answers.vectors[1] = answers.vectors[2]
    assert answers.compose(query, {}, [1, 0], [0.1, 0.5], ["line"]) == "first other"
    assert Answers.none(3, 2).compose(query, {}, [0, 1], [0.5, 0.1], ["", "a line"]) == "a line"


def test_an_answer_prefers_the_opening_sentence_and_the_questions_own_words() -> None:
    answers, query = sentences_of(["Reads a file.", "The buffer grows."], [0, 2], [0.52, 0.6])
    assert answers.compose(query, {}, [0], [1.0], []) == "Reads a file."
    assert answers.compose(query, {"buffer": 3.0, "size": 1.0}, [0], [1.0], []) == "The buffer grows."


def test_best_breaks_ties_by_row() -> None:
    assert best(np.asarray([[1, 3, 3, 0, 2]], np.float32), 3).tolist() == [[1, 2, 4]]


def test_candidates_are_the_union_without_repeats_and_without_empty_bm25_hits() -> None:
    random = np.random.default_rng(1)
    dense, bm25 = random.random((2, 200), np.float32), random.random((2, 200), np.float32)
    bm25[1] = 0
    found = candidates(dense, bm25)
    for at in range(2):
        rows = found.rows[at, found.valid[at]].tolist()
        union = set(np.argsort(-dense[at])[:50]) | (set(np.argsort(-bm25[at])[:50]) if at == 0 else set())
        assert len(rows) == len(set(rows)) and set(rows) == union
    assert found.features[0, :, 1].max() == 1 and not found.features[1, :, 3].any()


def test_served_ranks_continue_in_dense_order_below_the_candidates() -> None:
    random = np.random.default_rng(2)
    dense, bm25 = random.random((1, 300), np.float32), random.random((1, 300), np.float32)
    found = candidates(dense, bm25)
    scores = np.where(found.valid, random.random(found.rows.shape), -np.inf).astype(np.float32)
    slots = [slot for slot in np.argsort(-scores[0], kind="stable") if found.valid[0, slot]]
    head = found.rows[0, slots].tolist()
    full = head + [row for row in np.argsort(-dense[0], kind="stable").tolist() if row not in head]
    for row in range(300):
        assert served_ranks(found, scores, dense, [np.asarray([row])])[0] == full.index(row) + 1


def test_gold_ranks_count_ties_by_row() -> None:
    scores = np.asarray([[0.5, 0.9, 0.5, 0.5]], np.float32)
    assert [int(gold_ranks(scores, [np.asarray([row])])[0]) for row in range(4)] == [2, 1, 3, 4]


def test_features_never_carry_a_score_beyond_what_fitting_saw() -> None:
    columns = {
        name: np.asarray([0, 10**9])
        for name in ("documented", "changed_day", "n_changes", "shown", "up", "down", "n_tokens")
    }
    features = passage_features({**columns, "kind": np.asarray(["function", "?"], object)}, day=20_000)
    assert features.shape == (2, 12) and features.dtype == np.float32 and np.isfinite(features).all()
    ones = np.ones(16, np.float32)
    ranker = Ranker(ones, 0 * ones, ones, 0 * ones, ones)
    assert np.abs(ranker.static(features)).max() <= 12


def test_confidence_margins_are_finite_for_one_candidate() -> None:
    scores, features = np.asarray([[2.0]], np.float32), np.ones((1, 1, 4), np.float32)
    found = Candidates(np.zeros((1, 1), int), np.ones((1, 1), bool), features)
    assert probabilities(scores)[0, 0] == 1 and np.isfinite(margins(scores, found, np.zeros(1))).all()


def test_a_first_source_leads_the_nearest_passages_that_count() -> None:
    features = np.zeros((1, 12, 4), np.float32)
    features[0, :, 0] = np.linspace(0.9, 0.35, 12)
    valid = np.ones((1, 12), bool)
    scores = np.zeros((1, 12), np.float32)
    scores[0, 0] = 1
    found = Candidates(np.arange(12)[None], valid, features)
    assert margins(scores, found, np.zeros(1))[0, 2] == pytest.approx(0.9 - features[0, 9, 0])
    only = found._replace(valid=valid & (np.arange(12) < 3))  # a question about one lecture of three segments
    assert margins(scores, only, np.zeros(1))[0, 2] == pytest.approx(0.9 - features[0, 2, 0])


def test_coverage_weighs_the_questions_words_by_rarity_and_misses_the_unknown() -> None:
    index = Bm25.build(["red fish", "red bird", "red bird sings"])
    held = index.coverage(["red bird", "red unheard", "of the"], np.asarray([[0, 1], [0, 1], [0, 1]]))
    red, bird = np.log1p(0.5 / 3.5), np.log1p(1.5 / 2.5)
    np.testing.assert_allclose(held[0], [red / (red + bird), 1.0], rtol=1e-5)
    assert held[1, 0] < 0.1 and not held[2].any()


def test_a_bundle_of_an_earlier_version_keeps_its_confidence_and_a_later_one_is_refused() -> None:
    old = {"features": ["log_odds", "gap", "dense", "agreement"], "weights": [0.8, 0.1, 1.5, 0.2],
           "bias": -1.0, "threshold": 0.2, "floor": 0.25}  # fmt: skip
    read = Calibration.from_json(old)
    margin = np.asarray([[1.0, 9.0, 9.0, 2.0, 0.5, 2.0]], np.float32)
    assert read.confidence(margin, np.ones(1))[0] == pytest.approx(1 / (1 + np.exp(-(0.8 + 0.2 + 0.75 + 0.4 - 1))))
    assert Calibration.from_json(read.to_json()).features == read.features
    with pytest.raises(ValueError, match=r"features \['mood'\], this version knows"):
        Calibration.from_json({**old, "features": ["mood"], "weights": [1.0]})


def test_segments_of_lectures_answer_with_their_times_and_only_from_the_lecture_asked(
    retriever: Retriever, tiny_data: Path
) -> None:
    passages = pd.read_parquet(tiny_data / "passages.parquet")
    starts = np.arange(len(passages)) * 10.0
    timed = passages.assign(
        path=["tides", "bees"] * (len(passages) // 2), name="A lecture", start_s=starts, end_s=starts + 9
    )
    lectures = retriever.reindex(timed)
    asked = [lectures.parse({"question": "What is written whole?", "path": path}) for path in ("bees", "")]
    found = [result["sources"] for result in lectures.predict(asked)]
    assert {source["path"] for source in found[0]} == {"bees"} and {source["path"] for source in found[1]} == {
        "bees",
        "tides",
    }
    assert all(source["end"] == source["start"] + 9 for source in found[0]) and len(found[0]) == 5
    with pytest.raises(SluiceError, match="'path' is 'maps', which holds no passage"):
        lectures.parse({"question": "x", "path": "maps"})
