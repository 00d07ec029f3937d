"""What the canary analysis calls worse, and what it lets pass."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from components.rollout.analyse import analyse, proportions_p
from components.rollout.settings import RolloutSettings
from components.rollout.window import only_slow
from load_tests.slo import SLO, judge
from serving.verdict import Verdict

SETTINGS = RolloutSettings()


def window(n=200, seed=0, ms=10.0, errors=0, right=0.8, questions=60):
    rng = np.random.default_rng(seed)
    question = rng.integers(0, questions, n)
    return pd.DataFrame(
        {
            "at": np.sort(rng.uniform(0, 6, n)),
            "latency_ms": rng.lognormal(np.log(ms), 0.3, n),
            "status": np.where(np.arange(n) < errors, 503, 200),
            "error": np.where(np.arange(n) < errors, "503 Service Unavailable", ""),
            "asked": [f"q{i}" for i in question],
            # The same question is right or wrong every time it is asked, as a retriever answers it.
            "task": "retrieval",
            "units": 1.0,
            "correct": pd.Series([i < right * questions for i in question], dtype=object),
        }
    )


def test_a_canary_like_stable_passes():
    verdict = analyse(window(seed=1), window(seed=2), SLO(), SETTINGS)
    assert verdict.passed, verdict.reason
    assert verdict.figures["labelled"] > 50


@pytest.mark.parametrize(
    ("canary", "word"),
    [
        (window(seed=2, errors=20), "errors 10.00%"),
        (window(seed=2, ms=120), "latency"),
        (window(seed=2, right=0.4), "correct answers"),
    ],
    ids=["fails", "slow", "wrong"],
)
def test_a_worse_canary_is_stopped_for_the_reason_it_is_worse(canary, word):
    verdict = analyse(window(seed=1), canary, SLO(), SETTINGS)
    assert not verdict.passed
    assert word in verdict.reason
    assert verdict.reason.count(";") == 0, "one reason, not three"
    assert verdict.figures["worse"] in word


def test_too_few_requests_do_not_pass():
    verdict = analyse(window(), window(n=12), SLO(), SETTINGS)
    assert not verdict.passed
    assert "too few requests to judge: canary 12" in verdict.reason


def test_too_few_labelled_questions_do_not_pass():
    verdict = analyse(window(questions=3), window(questions=3), SLO(), SETTINGS)
    assert not verdict.passed
    assert "too few labelled requests: 3 of 8" in verdict.reason


def test_questions_without_labels_are_not_held_against_the_canary():
    stable, canary = window(seed=1).assign(correct=None), window(seed=2).assign(correct=None)
    assert analyse(stable, canary, SLO(), SETTINGS).passed


def test_a_significant_difference_too_small_to_matter_passes():
    verdict = analyse(window(n=5000, seed=1, ms=10), window(n=5000, seed=2, ms=12), SLO(), SETTINGS)
    assert verdict.figures["p_latency"] < 0.001
    assert verdict.passed


def test_asking_one_question_often_is_no_evidence_about_many():
    one_lost = window(n=2000, seed=2)
    one_lost.loc[one_lost["asked"] == "q0", "correct"] = False
    assert analyse(window(n=2000, seed=1), one_lost, SLO(), SETTINGS).figures["labelled_lost"] == 1
    assert analyse(window(n=2000, seed=1), one_lost, SLO(), SETTINGS).passed


def test_small_counts_are_tested_exactly_and_large_ones_by_z():
    p, test = proportions_p(0, 100, 3, 40)
    assert test.startswith("Fisher")
    assert p == pytest.approx(fisher_exact([[3, 37], [0, 100]], alternative="greater").pvalue)
    p, test = proportions_p(100, 1000, 140, 1000)
    assert test.startswith("two-proportion")
    assert p == pytest.approx(0.00300, abs=5e-5)  # z = 0.04 / sqrt(0.12 * 0.88 * 2 / 1000) = 2.752
    assert proportions_p(0, 50, 0, 50)[0] == 1


@pytest.mark.parametrize(
    ("load", "canary", "again"),
    [
        (window(ms=400), None, True),
        (window(ms=400, errors=20), None, False),
        (window(ms=400), {"worse": "latency, answers"}, False),
        (window(), {"worse": "latency"}, True),
        (window(), {"requests_canary": 12}, True),
        (window(), None, False),
    ],
    ids=["slow", "slow with errors", "slow and wrong", "slower than stable", "too few to tell", "good"],
)
def test_only_a_miss_of_speed_alone_or_too_few_requests_get_a_second_look(load, canary, again):
    slo = SLO(requests_per_s=1)
    assert only_slow([judge(load, slo, "on_split"), Verdict("canary", canary is None, "", canary or {})], slo) is again
