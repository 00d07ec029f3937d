"""When an SLO is kept, and what a load test's files and figures say."""

import numpy as np
import pandas as pd
import pytest

from load_tests.plan import PERSONAS, Target, is_correct, shape_error
from load_tests.questions import read_questions
from load_tests.report import write_report
from load_tests.slo import SLO, judge, read_slo
from serving.errors import SluiceError


def samples(n=600, seconds=10.0, ms=20.0, errors=0):
    return pd.DataFrame(
        {
            "at": 100 + np.linspace(ms / 1000, seconds, n),
            "latency_ms": np.full(n, ms),
            "status": [503] * errors + [200] * (n - errors),
            "error": ["503"] * errors + [""] * (n - errors),
            "persona": np.resize(list(PERSONAS), n),
            "target": "endpoint",
            "correct": pd.Series([True] * n, dtype=object),
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
    with pytest.raises(SluiceError, match="no SLO file .*codebase"):
        read_slo("nosuch")
    wrong = tmp_path / "slo.yaml"
    wrong.write_text("slo: {p95: 100}")
    with pytest.raises(SluiceError, match="slo.yaml"):
        read_slo(wrong)


@pytest.mark.parametrize(("users", "rate"), [(1, None), (7, 3.0), (24, 60.0)])
def test_users_and_rate_are_shared_out_exactly(users, rate):
    crew = Target("endpoint", "http://localhost", users, rate).crew()
    assert sum(count for count, _ in crew.values()) == users
    if rate:
        assert sum(count / pace for count, pace in crew.values()) == pytest.approx(rate)


def test_an_answer_is_marked_by_its_first_five_sources():
    body = {"predictions": [{"sources": [{"path": f"{n}.py"} for n in range(7)]}]}
    assert is_correct(body, ["4.py"]) is True
    assert is_correct(body, ["5.py"]) is False
    assert is_correct(body, []) is None
    assert shape_error(body) == ""
    assert shape_error({"predictions": []}) == shape_error(None) == "the body is not {predictions: [{...}]}"


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
    assert {q["persona"] for q in read_questions(None)} == set(PERSONAS)
    bad = tmp_path / "bad.yaml"
    bad.write_text("- {text: how}")
    with pytest.raises(SluiceError, match="question 0: no text under 'question'"):
        read_questions(bad)


def test_the_page_stands_alone(tmp_path):
    page = write_report(samples(), judge(samples(), SLO()), "http://localhost:1", tmp_path).read_text()
    assert "SLO kept" in page
    assert "<svg" in page
    assert "src=" not in page
