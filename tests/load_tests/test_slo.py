"""When an SLO is kept, and what a load test's files and figures say."""

import numpy as np
import pandas as pd
import pytest

from load_tests.asked import is_correct, read_asked, write_asked
from load_tests.plan import PERSONAS, PLAIN, LoadTarget
from load_tests.protocols import PROTOCOLS
from load_tests.questions import read_questions
from load_tests.report import write_report
from load_tests.slo import SLO, judge, own_questions, read_slo
from serving.contract.errors import SluiceError
from serving.contract.texts import word_errors


def samples(n=600, seconds=10.0, ms=20.0, errors=0, task="retrieval"):
    return pd.DataFrame(
        {
            "at": 100 + np.linspace(ms / 1000, seconds, n),
            "latency_ms": np.full(n, ms),
            "status": [503] * errors + [200] * (n - errors),
            "error": ["503"] * errors + [""] * (n - errors),
            "persona": np.resize(list(PERSONAS), n),
            "target": "endpoint",
            "correct": pd.Series([True] * n, dtype=object),
            "task": task,
            "units": 2.0,
        }
    )


def test_an_slo_that_is_kept():
    verdict = judge(samples(), SLO(), "through_split")
    assert verdict.passed, verdict.reason
    assert verdict.figures["p95_ms_through_split"] == 20
    assert verdict.figures["requests_per_s_through_split"] == pytest.approx(60, abs=0.1)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (samples(n=400), "40.0 requests/s under 50"),
        (samples(ms=250), "p95 250 ms over 200 ms"),
        (samples(errors=6), "errors 1.00% over 0.50% (mostly status 503"),
        (samples(n=20, seconds=0.3), "too few requests: 20 of 50"),
        (samples(n=0), "too few requests: 0 of 50"),
    ],
    ids=["rate", "latency", "errors", "few", "none"],
)
def test_an_slo_that_is_missed_says_by_how_much(found, words):
    verdict = judge(found, SLO())
    assert not verdict.passed
    assert words in verdict.reason


def test_refused_connections_do_not_flatter_the_percentiles():
    mixed = samples()
    mixed.loc[:299, ["status", "latency_ms"]] = [0, 0.2]
    assert judge(mixed, SLO()).figures["p50_ms"] == 20


def test_the_project_ships_an_slo_for_its_system_and_names_wrong_ones(tmp_path):
    assert read_slo("codebase").slo == SLO(requests_per_s=50, p95_ms=200, error_rate=0.005)
    for system in ("lectures-transcriber", "lectures-highlights", "lectures-retriever", "drill", "drill-transcriber"):
        assert read_slo(system).slo.p95_ms <= 5000
    assert read_slo("lectures-transcriber").slo.units_per_s > 1, "faster than people talk"
    with pytest.raises(SluiceError, match="no SLO file .*codebase"):
        read_slo("nosuch")
    wrong = tmp_path / "slo.yaml"
    wrong.write_text("slo: {p95: 100}")
    with pytest.raises(SluiceError, match="slo.yaml"):
        read_slo(wrong)


@pytest.mark.parametrize("kinds", [PERSONAS, PLAIN], ids=["personas", "plain"])
@pytest.mark.parametrize(("users", "rate"), [(1, None), (7, 3.0), (24, 60.0)])
def test_users_and_rate_are_shared_out_exactly(users, rate, kinds):
    crew = LoadTarget("endpoint", "http://localhost", users, rate).crew(kinds)
    assert sum(count for count, _ in crew.values()) == users
    if rate:
        assert sum(count / pace for count, pace in crew.values()) == pytest.approx(rate)


def test_units_are_promised_beside_requests():
    slow = judge(samples(task="transcription"), SLO(units_per_s=200))
    assert slow.figures["audio_s_per_s"] == pytest.approx(120, abs=0.2)
    assert slow.reason.endswith("s of audio/s under 200")
    kept = judge(samples(task="highlights"), SLO(units_per_s=100), "at_100_percent")
    assert kept.passed and "120 sentences/s" in kept.reason
    assert "sentences_per_s_at_100_percent" in kept.figures
    assert "sentences_per_s" not in judge(samples(), SLO()).figures


SOURCES = {"sources": [{"path": f"{n}.py"} for n in range(7)]}


@pytest.mark.parametrize(
    ("task", "prediction", "expect", "right"),
    [
        ("retrieval", SOURCES, {"paths": ["4.py"]}, True),
        ("retrieval", SOURCES, {"paths": ["5.py"]}, False),
        ("retrieval", SOURCES, {"paths": []}, None),
        ("transcription", {"text": "One, two; three"}, {"text": "one two tree four"}, True),
        ("transcription", {"text": "one and one more and one"}, {"text": "one two"}, False),
        ("transcription", {"text": "One, two"}, None, None),
        ("highlights", {"bullets": [{"text": "The tide turns at noon."}]}, {"bullets": ["the tide turns"]}, True),
        ("highlights", {"bullets": []}, {"bullets": ["at noon the tide turns"]}, False),
        ("dance", {}, {"text": "x"}, None),
    ],
)  # fmt: skip
def test_an_answer_is_marked_as_its_task_wants(task, prediction, expect, right):
    assert is_correct(task, prediction, expect) is right


@pytest.mark.parametrize(
    ("protocol", "body", "said"),
    [
        ("v1", {"predictions": [{"a": 1}]}, {"a": 1}),
        ("v1", {"predictions": [0.7]}, {"prediction": 0.7}),
        ("v2", {"outputs": [{"name": "sources", "data": ['[{"path": "a.py"}]']}, {"name": "p", "data": [1, 2]}]},
         {"sources": [{"path": "a.py"}], "p": [1, 2]}),
        ("chat", {"choices": [{"message": {"content": "Yes."}}]}, {"text": "Yes."}),
        ("embeddings", {"data": [{"embedding": [0.1, 0.2]}]}, {"embedding": [0.1, 0.2]}),
        ("transcriptions", {"text": ""}, {"text": ""}),
    ],
)  # fmt: skip
def test_an_answer_is_read_as_its_protocol_shapes_it_and_nothing_else_counts(protocol, body, said):
    kind = PROTOCOLS[protocol]
    assert kind.answer(body) == (said, "")
    for other in (None, [], "text", {}, {"predictions": []}, {"outputs": []}, {"choices": [{}]}, {"text": None}):
        assert kind.answer(other) == (None, f"the body is not {kind.shape}")


def test_word_errors():
    assert word_errors("the cat sat on mat", "the cat sat on the mat") == pytest.approx(1 / 6)
    assert word_errors("a b", "") == 2


def test_request_rows_say_which_line_is_wrong(tmp_path):
    file = tmp_path / "asked"
    row = {"id": "a", "task": "highlights", "instance": {"text": "x"}, "expect": None, "units": 3}
    for bad, why in (
        ({"instance": 1}, "line 2: expected an object"),
        ({"path": "v1/models"}, "does not begin with /"),
        ({"instance": None, "file": "none.wav"}, "line 2: no file .*none.wav"),
        ({"units": 0}, "'units' 0"),
        ({"expect": 1}, "label"),
    ):
        write_asked([row, {**row, **bad}], file)
        with pytest.raises(SluiceError, match=why):
            read_asked(file)
    file.write_text("")
    with pytest.raises(SluiceError, match="nothing to ask"):
        read_asked(file)


def test_questions_are_read_from_a_table_and_from_a_list(tmp_path):
    table = tmp_path / "questions"  # KFP's files have no suffix
    rows = [
        {"question": "how?", "split": "persona", "persona": "novice", "path": "a.py", "question_id": "p1"},
        {"question": "why?", "split": "train", "persona": "", "path": "b.py", "question_id": "t1"},
    ]
    pd.DataFrame(rows).to_parquet(table)
    assert read_questions(table) == [
        {"question_id": "p1", "question": "how?", "persona": "novice", "gold_paths": ["a.py"]}
    ]
    assert {row["persona"] for row in own_questions("codebase")} == set(PERSONAS)
    with pytest.raises(SluiceError, match="the SLO file has no questions: add some"):
        own_questions("lectures-transcriber")
    bad = tmp_path / "bad.yaml"
    bad.write_text("- {text: how}")
    with pytest.raises(SluiceError, match="question 0: no text under 'question'"):
        read_questions(bad)


def test_the_page_stands_alone(tmp_path):
    page = write_report(samples(), judge(samples(), SLO()), "http://localhost:1", tmp_path).read_text()
    assert "SLO kept" in page
    assert "<svg" in page
    assert "src=" not in page
