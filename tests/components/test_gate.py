import json

import numpy as np
import pandas as pd
import pytest

from components.common.page import page_data
from components.gate.gate import judge_files
from components.gate.judge import examine, quality_verdict
from components.gate.rules import Rivals
from components.tasks.retrieval.evaluating.ranks import metric_of
from components.tasks.retrieval.gating import GATE, Settings
from serving.contract.errors import SluiceError
from serving.contract.verdict import Verdict, read_verdicts, write_verdicts


def ranks(n: int, skill: float, seed: int) -> np.ndarray:
    """Ranks of n questions: difficulty is shared between systems, skill moves all of them up."""
    difficulty = np.random.default_rng(0).exponential(6, n)
    noise = np.random.default_rng(seed).exponential(1, n)
    return 1 + np.floor(difficulty * noise / skill).astype(np.int32)


def calibrated(correct: np.ndarray, seed: int) -> np.ndarray:
    """Confidences of which exactly the stated share is right, and which tell right from wrong fairly well."""
    random, share = np.random.default_rng(seed), correct.mean()
    right, wrong = 1.6 * share, 1.6 * (1 - share)
    return np.where(correct, random.beta(right + 1, wrong, len(correct)), random.beta(right, wrong + 1, len(correct)))


def predictions(skill: float, seed: int = 1, n: int = 400, n_persona: int = 90) -> pd.DataFrame:
    tables = []
    for name, count in (("test", n), ("persona", n_persona)):
        for retriever, factor in (("served", 1.0), ("dense", 0.9), ("bm25", 0.4)):
            rank = ranks(count, skill * factor, seed)
            table = pd.DataFrame({"question_id": [f"{name}{i}" for i in range(count)], "rank": rank})
            table["set"], table["retriever"] = name, retriever
            table["category"] = ["what", "why", "how", "parameters"][:4] * (count // 4) + ["what"] * (count % 4)
            table["persona"] = "" if name == "test" else ["novice", "experienced", "researcher"] * (count // 3)
            table["top"] = [[f"p{(i * r) % 997}", "q"] for i, r in enumerate(rank)]
            table["path"] = [f"file{i % 40}.py" for i in range(count)]
            table["correct"] = rank == 1
            table["confidence"] = calibrated(rank == 1, seed) if retriever == "served" else np.nan
            table["abstained"] = table["confidence"] < 0.2
            tables.append(table)
    return pd.concat(tables, ignore_index=True).assign(task="retrieval")


def compare(champion, challenger, **settings):
    """The gate's verdict where the base is worse than both."""
    chosen = Settings(resamples=1000, **settings)
    base = predictions(0.9, n=challenger["set"].eq("test").sum() // 3)
    return quality_verdict(examine(GATE, Rivals(challenger, champion, base), chosen), chosen)


def judge(tmp_path, challenger, champion, data_passed=True, base=None, **settings):
    settings = {"resamples": 1000, **settings}
    files = {"challenger": challenger, "champion": champion, "base": predictions(1.0) if base is None else base}
    for name, table in files.items():
        table.to_parquet(tmp_path / f"{name}.parquet")
    for name, passed in (("data", data_passed), ("quantisation", True)):
        write_verdicts([Verdict(name, passed, f"{name} is as it is")], tmp_path / f"{name}.json")
    return judge_files(
        {name: tmp_path / f"{name}.parquet" for name in files},
        {name: tmp_path / f"{name}.json" for name in ("data", "quantisation")},
        settings,
        tmp_path / "verdict.json",
        tmp_path / "page.html",
    )


def test_a_better_challenger_passes_and_the_interval_holds_the_true_difference():
    champion, challenger = predictions(1.0), predictions(3.0)
    verdict = compare(champion, challenger)
    mine, theirs = (
        1 / t[(t["set"] == "test") & (t["retriever"] == "served")]["rank"].to_numpy() for t in (challenger, champion)
    )
    assert verdict.passed
    assert verdict.figures["difference"] == pytest.approx((mine - theirs).mean())
    error = (mine - theirs).std() / np.sqrt(len(mine))
    assert verdict.figures["low"] == pytest.approx((mine - theirs).mean() - 1.96 * error, abs=0.15 * error)


def test_a_challenger_that_differs_by_chance_alone_does_not_pass():
    assert not compare(predictions(1.0), predictions(1.0, seed=2)).passed


def test_the_margin_has_to_be_cleared_by_the_lower_end():
    champion, challenger = predictions(1.0), predictions(3.0)
    low = float(compare(champion, challenger).figures["low"])
    assert compare(champion, challenger, margin=low - 1e-9).passed
    assert not compare(champion, challenger, margin=low).passed


def test_a_metric_that_decides_has_to_clear_the_margin_also_where_it_is_the_personas_own():
    champion, challenger = predictions(1.0), predictions(3.0)
    assert compare(champion, challenger, metric="mrr_full_persona").passed
    high = compare(champion, challenger, metric="mrr_full_persona", margin=0.5)
    assert not high.passed and "users' questions" in high.reason and "has to start above +0.500" in high.reason


def test_the_very_same_predictions_are_nothing_to_promote():
    verdict = compare(predictions(1.0), predictions(1.0))
    assert not verdict.passed
    assert "nothing to promote" in verdict.reason


def test_rows_may_come_in_any_order():
    champion, challenger = predictions(1.0), predictions(3.0)
    shuffled = challenger.sample(frac=1, random_state=3)
    assert compare(champion, shuffled) == compare(champion, challenger)


def test_different_questions_are_refused():
    with pytest.raises(SluiceError, match="hold different examples"):
        compare(predictions(1.0), predictions(3.0, n=300))


def test_an_unknown_metric_is_named():
    with pytest.raises(SluiceError, match="no metric 'accuracy'"):
        metric_of("accuracy")


def test_all_gates_together_let_a_better_challenger_pass(tmp_path):
    outcome = judge(tmp_path, predictions(3.0), predictions(1.2))
    assert outcome.passed, outcome.reason
    assert [v.gate for v in read_verdicts(tmp_path / "verdict.json")] == ["data", "quantisation", "quality"]
    carried = page_data((tmp_path / "page.html").read_text())
    assert [v["gate"] for v in carried["verdicts"]] == ["data", "quantisation", "quality"]
    assert {r["who"] for r in carried["headline"]["levels"]} >= {"BM25", "base encoder alone", "challenger, as served"}


def test_a_source_without_persona_questions_is_judged_on_its_test_set(tmp_path):
    challenger, champion, base = (t[t["set"] == "test"] for t in map(predictions, (3.0, 1.2, 1.0)))
    assert judge(tmp_path, challenger, champion, base=base).passed
    with pytest.raises(SluiceError, match="hold different examples"):
        judge(tmp_path, challenger, predictions(1.2), base=base)
    with pytest.raises(SluiceError, match="no rows of set 'persona'"):
        judge(tmp_path, challenger, champion, base=base, metric="mrr_full_persona")


def test_confidence_that_does_not_know_right_from_wrong_stops_a_better_challenger(tmp_path):
    challenger, champion = predictions(3.0), predictions(1.2)
    outcome = judge(tmp_path, challenger, champion)
    assert outcome.passed, outcome.reason
    figures = json.loads((tmp_path / "verdict.json").read_text())[-1]["figures"]
    assert figures["confidence_auroc_persona_held_out vs chance, low"] > 0
    persona = (challenger["set"] == "persona") & (challenger["retriever"] == "served")
    mixed = challenger.copy()
    mixed.loc[persona, "confidence"] = np.random.default_rng(7).permutation(challenger.loc[persona, "confidence"])
    blind = judge(tmp_path, mixed, champion)
    assert not blind.passed
    assert "AUROC of confidence on users' held-out questions" in blind.reason and "against chance" in blind.reason
    assert "against the champion" in blind.reason


def test_confidence_far_from_the_share_right_or_abstaining_from_right_answers_stops_it_too(tmp_path):
    challenger, champion = predictions(3.0), predictions(1.2)
    persona = (challenger["set"] == "persona") & (challenger["retriever"] == "served")
    timid = challenger.copy()
    timid.loc[persona, "confidence"] = challenger.loc[persona, "confidence"] ** 4
    outcome = judge(tmp_path, timid, champion)
    assert not outcome.passed and "highest calibration error on users' held-out questions" in outcome.reason
    silent = challenger.copy()
    silent.loc[persona, "abstained"] = challenger.loc[persona, "correct"]
    outcome = judge(tmp_path, silent, champion)
    assert not outcome.passed and "wrong answers abstained from, less twice that of right ones" in outcome.reason


def test_confidence_is_not_judged_on_a_handful_of_questions(tmp_path):
    few = [predictions(skill, n_persona=30) for skill in (3.0, 1.2, 1.0)]
    few[0].loc[few[0]["set"] == "persona", "confidence"] = 0.5
    outcome = judge(tmp_path, few[0], few[1], base=few[2])
    assert outcome.passed, outcome.reason
    assert "too few to judge" in (tmp_path / "page.html").read_text()


def test_a_failed_data_gate_stops_a_better_challenger(tmp_path):
    outcome = judge(tmp_path, predictions(3.0), predictions(1.2), data_passed=False)
    assert not outcome.passed
    assert outcome.reason == "data: data is as it is"


def test_a_slice_that_falls_stops_a_challenger_that_is_better_on_the_whole(tmp_path):
    challenger = predictions(6.0)
    worse = (challenger["category"] == "why") & (challenger["set"] == "test") & (challenger["retriever"] == "served")
    challenger.loc[worse, "rank"] = 40
    outcome = judge(tmp_path, challenger, predictions(1.2))
    assert not outcome.passed
    assert "category why fell" in outcome.reason


def test_one_answer_for_everything_is_caught_as_lost_diversity(tmp_path):
    challenger = predictions(3.0)
    challenger["top"] = [["p1", "q"]] * len(challenger)
    outcome = judge(tmp_path, challenger, predictions(1.2))
    assert not outcome.passed
    assert "distinct first passages" in outcome.reason


def test_no_better_than_bm25_is_not_good_enough(tmp_path):
    challenger = predictions(3.0)
    rows = challenger["retriever"] == "bm25"
    challenger.loc[rows, "rank"] = challenger.loc[challenger["retriever"] == "served", "rank"].to_numpy()
    outcome = judge(tmp_path, challenger, predictions(1.2))
    assert not outcome.passed
    assert "against BM25" in outcome.reason


def test_a_person_overrules_by_name_and_reason_and_both_stay_on_record(tmp_path):
    worse = predictions(0.5)
    outcome = judge(tmp_path, worse, predictions(1.2), overruled_by="Ada L.", overrule_reason="needed for a test")
    assert outcome.passed
    quality = json.loads((tmp_path / "verdict.json").read_text())[-1]
    assert quality["figures"]["overruled_by"] == "Ada L."
    assert "the gate said" in quality["reason"]


def test_overruling_without_a_reason_is_refused(tmp_path):
    with pytest.raises(ValueError, match="give both"):
        judge(tmp_path, predictions(0.5), predictions(1.2), overruled_by="Ada L.")


def test_a_refresh_may_be_unchanged_but_not_worse_and_floors_hold(tmp_path):
    same = predictions(3.0)
    assert judge(tmp_path, same, same, refresh=True).passed
    assert not judge(tmp_path, same, same).passed
    worse = judge(tmp_path, predictions(1.5), same, refresh=True)
    assert not worse.passed and "has to start above -0.020" in worse.reason
    low = judge(tmp_path, same, same, refresh=True, floors={"mrr_full_withheld": 0.99})
    assert not low.passed and "below 0.990" in low.reason


def test_rivals_of_different_tasks_are_refused(tmp_path):
    with pytest.raises(SluiceError, match="different tasks"):
        judge(tmp_path, predictions(3.0), predictions(1.2).assign(task="highlights"))
