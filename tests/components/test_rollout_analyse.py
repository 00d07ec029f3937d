"""What the canary analysis calls worse, and what it lets pass."""

import numpy as np
import pandas as pd
import pytest
from answered import cited
from scipy.stats import fisher_exact

from components.rollout.analyse import analyse, inconclusive
from components.rollout.compare import Votes, proportions_p
from components.rollout.settings import RolloutSettings
from components.rollout.watcher import RolloutWatcher
from components.rollout.window import second_look, votes_of
from load_tests.slo import SLO, judge
from serving.contract.verdict import Verdict
from serving.feedback import FeedbackStore

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
    assert inconclusive(verdict)


def test_too_few_labelled_questions_do_not_pass():
    verdict = analyse(window(questions=3), window(questions=3), SLO(), SETTINGS)
    assert not verdict.passed
    assert "too few labelled requests: 3 of 8" in verdict.reason
    assert inconclusive(verdict)


def test_a_verdict_prints_the_smallest_harm_it_could_have_seen():
    # 0 of 40 against 6 of 40 is p = .0129 by Fisher's exact test, against 7 of 40 p = .0058: the seventh error shows.
    small = analyse(window(n=40, seed=1), window(n=40, seed=2), SLO(), SETTINGS)
    assert small.figures["smallest_error_rate_detectable"] == 7 / 40
    assert "17.5% or more would have shown" in small.reason
    large = analyse(window(n=400, seed=1), window(n=400, seed=2), SLO(), SETTINGS)
    assert large.figures["smallest_error_rate_detectable"] == pytest.approx(7 / 400)
    for n, seen in ((40, small), (400, large)):
        count = round(seen.figures["smallest_error_rate_detectable"] * n)
        at, below = (
            analyse(window(n=n, seed=1), window(n=n, seed=2, errors=e), SLO(), SETTINGS) for e in (count, count - 1)
        )
        assert at.figures["worse"] == "errors"
        assert "worse" not in below.figures
    # 7 of 60 questions lost and none won are p = .0078 by the sign test, 6 are p = .0156.
    assert large.figures["smallest_fall_of_correct_detectable"] == pytest.approx(7 / 60, abs=1e-4)
    # p95, 10 exp(1.645 * .3) = 16.4 ms, must grow by a tenth of the SLO's 200 ms: 2.2 times, 2.4 on the scale tried.
    ratio = large.figures["smallest_latency_ratio_detectable"]
    assert 2.1 < ratio < 2.5
    slow, less = (
        analyse(window(n=400, seed=1), window(n=400, seed=1, ms=10 * r), SLO(), SETTINGS) for r in (ratio, 1.8)
    )
    assert slow.figures["worse"] == "latency"
    assert less.passed


def test_a_window_that_could_not_have_shown_much_is_inconclusive_however_good_it_looks():
    verdict = analyse(window(n=40, seed=1), window(n=40, seed=2), SLO(), SETTINGS)
    assert inconclusive(verdict)
    assert verdict.figures["inconclusive"] == "errors"
    assert analyse(window(n=80, seed=1), window(n=80, seed=2), SLO(), SETTINGS).passed


@pytest.mark.parametrize(
    ("canary", "name"),
    [(window(seed=2, errors=4), "errors"), (window(seed=2, right=0.72), "answers")],
    ids=["errors", "answers"],
)
def test_harm_that_chance_alone_may_explain_is_inconclusive_and_does_not_pass(canary, name):
    verdict = analyse(window(seed=1), canary, SLO(), SETTINGS)
    assert not verdict.passed
    assert (verdict.figures["inconclusive"], verdict.figures.get("worse")) == (name, None)
    assert verdict.reason.startswith("inconclusive: ")


def test_users_votes_stop_a_canary_that_they_like_less_and_few_votes_stop_nothing():
    def judged(stable: Votes, canary: Votes):
        return analyse(window(seed=1), window(seed=2), SLO(), SETTINGS, (stable, canary))

    disliked = judged(Votes(up=30, down=5), Votes(up=4, down=14))
    assert disliked.figures["worse"] == "votes"
    assert "votes down 78% of 18 against 14% of 35" in disliked.reason
    assert judged(Votes(up=30, down=5), Votes(up=15, down=3)).passed
    few = judged(Votes(up=3, down=0), Votes(up=0, down=1))
    assert few.passed
    assert "no share would have shown" in few.reason
    assert "votes not compared (0 on stable, 2 on the canary)" in judged(Votes(), Votes(up=1, down=1)).reason


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


def test_votes_since_the_canarys_first_traffic_are_counted_for_the_two_revisions_that_compete(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    watch = RolloutWatcher(quiet=True)
    store = FeedbackStore(feature_server="")
    for number, (revision, vote) in enumerate([("rev-1", "up"), ("rev-1", "up"), ("rev-2", "down"), ("rev-0", "down")]):
        cited(store, f"q{number}", revision, "why?", ["a"])
        store.feedback(f"q{number}", vote)
    store.close()
    assert votes_of("rev-1", "rev-2", watch) == (Votes(up=2), Votes(down=1))
    watch.opened_at = watch.began + 3600
    assert votes_of("rev-1", "rev-2", watch) == (Votes(), Votes())
    monkeypatch.setenv("SLUICE_FEEDBACK_DB", "postgresql+psycopg://nobody@127.0.0.1:9/none")
    assert votes_of("rev-1", "rev-2", watch) is None
    assert "users' votes are not known" in watch.events[-1].text


@pytest.mark.parametrize(
    ("load", "canary", "again"),
    [
        (window(ms=400), None, "again"),
        (window(ms=400, errors=20), None, ""),
        (window(ms=400), {"worse": "latency, answers"}, ""),
        (window(), {"worse": "latency"}, "again"),
        (window(), {"worse": "votes"}, ""),
        (window(), {"inconclusive": "requests"}, "longer"),
        (window(), {"inconclusive": "errors", "error_rate_canary": 0.03}, "longer"),
        (window(errors=20), {"inconclusive": "answers"}, ""),
        (window(), None, ""),
    ],
    ids=["slow", "slow with errors", "slow and wrong", "slower", "disliked", "few", "unsure", "unsure, errors", "good"],
)
def test_a_miss_of_speed_is_looked_at_again_and_an_unsure_one_for_longer(load, canary, again):
    slo = SLO(requests_per_s=1)
    assert (
        second_look([judge(load, slo, "on_split"), Verdict("canary", canary is None, "", canary or {})], slo) == again
    )
