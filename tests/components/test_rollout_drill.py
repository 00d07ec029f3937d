"""The broken canaries of the drill are broken in the way they say, and the sound bundle stays as it was."""

import pandas as pd
import pytest
from tokenizers import Tokenizer, models

from components.rollout.drill import faults
from components.rollout.drill.scenes import Result
from components.rollout.manifests import read_manifests
from components.tasks.transcription import drilling as transcription
from serving.contract.errors import SluiceError
from serving.contract.files import digest
from serving.contract.load import load


def test_faults_are_made_in_copies(tiny_bundle, tmp_path):
    before = digest(tiny_bundle)
    wrong = faults.wrong_answers(tiny_bundle, tmp_path / "wrong")
    broken = faults.corrupt(tiny_bundle, tmp_path / "broken")
    other = faults.copy_bundle(tiny_bundle, tmp_path / "other", "drill")
    assert digest(tiny_bundle) == before
    assert len({before, digest(wrong), digest(broken), digest(other)}) == 4
    predictor = load(wrong)
    row = faults.asked_of(tiny_bundle)[0]
    answer = predictor.predict([predictor.parse(row["instance"])])[0]
    predictor.close()
    assert all(source["path"].startswith("elsewhere/") for source in answer["sources"])
    with pytest.raises(SluiceError, match="onnx"):
        load(broken)


def test_questions_come_from_the_bundle_with_their_files(tiny_bundle):
    asked = faults.asked_of(tiny_bundle)
    assert len(asked) >= 40
    paths = set(pd.read_parquet(tiny_bundle / "index" / "passages.parquet")["path"])
    assert all(set(row["expect"]["paths"]) <= paths for row in asked)


def test_a_spoiled_transcriber_says_other_words_and_keeps_its_special_tokens(tmp_path):
    special, words = ["<|endoftext|>", "<|startoftranscript|>"], ["one", "two", "three", "river"]
    before = Tokenizer(models.WordLevel({word: at for at, word in enumerate([*special, *words])}))
    before.add_special_tokens(special)
    before.save(str(tmp_path / "tokenizer.json"))
    transcription.spoil(tmp_path)
    after = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert [after.token_to_id(name) for name in special] == [0, 1]
    said = [after.id_to_token(before.token_to_id(word)) for word in words]
    assert sorted(said) == sorted(words)
    assert all(word != other for word, other in zip(said, words, strict=True))


def test_the_faulty_server_stands_before_the_command_of_the_manifests(tmp_path):
    made = read_manifests("codebase", faults.faulty_manifests("codebase", "", tmp_path / "m", ["--delay", "1"]))
    command = made.runtime["spec"]["containers"][0]["command"]
    own = read_manifests("codebase").runtime["spec"]["containers"][0]["command"]
    assert command == ["python", "-m", "components.rollout.drill.faulty_server", "--delay", "1", "--", *own]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({}, ""),
        ({"promoted": True}, "promoted"),
        ({"failed_stable": 1}, "1 of the users' requests failed"),
        ({"failed_canary": 9}, ""),
        ({"withdrawn_s": 31.0}, "not withdrawn within 30 s"),
    ],
)
def test_a_scene_is_judged_by_what_users_noticed(changed, fault):
    good = {
        "scene": "slow", "promoted": False, "expected": False, "reason": "", "seconds": 20.0, "withdrawn_s": 9.0,
        "requests": 200, "failed_stable": 0, "failed_canary": 0,
    }  # fmt: skip
    assert Result(**{**good, **changed}).fault == fault
