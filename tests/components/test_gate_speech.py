import numpy as np
import pandas as pd
import pytest

from components.common.page import page_data
from components.common.scores import rate
from components.gate.gate import judge_files
from components.gate.judge import examine, quality_verdict
from components.gate.rules import Rivals
from components.tasks.transcription.gating import GATE, Settings, loops
from components.tasks.transcription.words import normalise
from serving.contract.verdict import Verdict, write_verdicts

WORDS = ["tide", "comes", "when", "moon", "sun", "pull", "the", "sea", "boats", "rise", "night"]
SPEAKERS = {"Ada": "clean", "Ben": "noise", "Cy": "known"}


def heard(wrong: dict[str, float], seed: int = 0, n: int = 40) -> pd.DataFrame:
    """Predictions on n utterances of eight words for each speaker; each word is wrong with the speaker's rate."""
    rng = np.random.default_rng(5)
    misses = np.random.default_rng(seed)
    rows = []
    for speaker, condition in SPEAKERS.items():
        for at in range(n):
            said = [*rng.choice(WORDS, 7), f"word{at}"]
            out = ["mud" if misses.random() < wrong[speaker] else word for word in said]
            errors = sum(a != b for a, b in zip(said, out, strict=True))
            rows.append(
                {"utterance_id": f"{speaker}-{at}", "recording_id": speaker, "speaker": speaker, "condition": condition,
                 "seconds": 2.0, "said": " ".join(said), "heard": " ".join(out), "words": 8, "errors": errors,
                 "characters": 40, "character_errors": 3 * errors, "task": "transcription"}
            )  # fmt: skip
    return pd.DataFrame(rows)


BASE = heard({"Ada": 0.3, "Ben": 0.3, "Cy": 0.02})
TUNED = heard({"Ada": 0.1, "Ben": 0.1, "Cy": 0.02}, seed=1)


def verdict(challenger, champion=BASE, **settings):
    chosen = Settings(resamples=1000, **settings)
    found = examine(GATE, Rivals(challenger, champion, BASE), chosen)
    return quality_verdict(found, chosen)


def test_fewer_errors_by_more_than_chance_pass_and_the_interval_is_of_the_corpus_rate():
    found = verdict(TUNED)
    assert found.passed, found.reason
    fewer = 100 * (BASE["errors"].sum() - TUNED["errors"].sum()) / BASE["words"].sum()
    assert found.figures["difference"] == pytest.approx(fewer)
    assert 0 < found.figures["low"] < fewer < found.figures["high"]
    assert "fewer errors per 100 words on the test set +" in found.reason


def test_a_rate_weighs_examples_by_their_size():
    errors, words = np.array([1.0, 0.0]), np.array([1.0, 9.0])
    assert rate(errors, words, 200, 0).mean == pytest.approx(0.1)


def test_chance_and_the_very_same_transcripts_do_not_pass():
    assert not verdict(heard({"Ada": 0.3, "Ben": 0.3, "Cy": 0.02}, seed=2)).passed
    same = verdict(BASE)
    assert not same.passed and "nothing to promote" in same.reason
    assert verdict(TUNED, TUNED, refresh=True).passed


def test_a_model_that_forgot_the_old_voices_is_stopped_though_it_is_better_on_the_whole():
    forgot = verdict(heard({"Ada": 0.02, "Ben": 0.02, "Cy": 0.12}, seed=1))
    assert forgot.figures["difference"] > 5 and not forgot.passed
    assert "the condition known" in forgot.reason and "speaker Cy fell" in forgot.reason


def test_one_sentence_for_everything_and_endless_repetition_are_stopped():
    constant = TUNED.assign(heard=TUNED["said"].iloc[0], errors=7)
    assert "one constant output" in verdict(constant).reason and "distinct transcripts" in verdict(constant).reason
    caught = TUNED.assign(heard=TUNED["heard"] + " and so" * 5)
    assert "do not repeat themselves" in verdict(caught).reason


def test_loops_are_repeated_phrases_not_repeated_digits():
    assert loops("so it goes it goes it goes it goes it goes") and loops("no no no no")
    assert not loops("7 7 7 7 7") and not loops("it goes and it goes and it stops")
    assert not loops(normalise("seven seven seven seven seven")) and not loops("")


def test_the_page_shows_the_error_rate_before_and_after(tmp_path):
    for name, table in {"challenger": TUNED, "champion": BASE, "base": BASE}.items():
        table.to_parquet(tmp_path / f"{name}.parquet")
    for name in ("data", "quantisation"):
        write_verdicts([Verdict(name, True, "fine")], tmp_path / f"{name}.json")
    files = ({who: tmp_path / f"{who}.parquet" for who in ("challenger", "champion", "base")},
             {name: tmp_path / f"{name}.json" for name in ("data", "quantisation")})  # fmt: skip
    outcome = judge_files(*files, {"resamples": 1000}, tmp_path / "verdict.json", tmp_path / "page.html")
    assert outcome.passed
    headline = page_data((tmp_path / "page.html").read_text())["headline"]
    assert headline["tiles"][0][0] == "Word error rate, test" and "before 19.2 %" in headline["tiles"][0][2]
    assert {row["metric"] for row in headline["levels"]} == {"all", "clean", "noise", "known", "Ada", "Ben", "Cy"}
    assert len(headline["pictures"]) == 2 and headline["unit"] == "utterances"
