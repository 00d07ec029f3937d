import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tiny_whisper import WORDS, make_general_whisper, make_tiny_whisper

from components.merge.run import merge
from components.tasks.transcription.learning import Settings, learner, read
from components.tasks.transcription.learning.augment import change_speed, mask, place
from components.tasks.transcription.learning.data import mixed
from components.tasks.transcription.learning.errors import word_errors
from components.tasks.transcription.speech import TorchWhisper
from components.tasks.transcription.utterances import read_tables
from components.train.learner import World
from components.train.loop import Trainer
from components.train.run import train
from components.train.settings import Hyperparameters
from components.tune.search import search
from components.tune.settings import tune_settings
from components.tune.study import create
from serving.contract.errors import SluiceError

HYPER = {"rank": 4, "alpha": 8, "learning_rate": 0.03, "batch": 6, "precision": "fp32", "target_modules": "all"}
SETTINGS = {"epochs": 8, "evaluations": 1, "bands": 1, "band": 4, "gap": 5, "margin": 6, "interpolation": 1.0}
SPOKEN = ("the", *WORDS[:3])


def tone(word):
    time = np.arange(8000) / 16000
    return 0.5 * np.sin(2 * np.pi * 300 * (SPOKEN.index(word) + 1) * time)


def make_speech(folder, count=24):
    """Utterances of "the" and tones for words, half a second each; every third one is of the condition "known"."""
    rng = np.random.default_rng(0)
    audio, said = [], []
    for at in range(count):
        words = ["the", *rng.choice(SPOKEN, rng.integers(1, 3)).tolist()]
        wave = np.concatenate([tone(word) for word in words])
        audio.append({"utterance_id": f"u{at}", "samples": (wave * 32767).astype("<i2").tobytes()})
        split, condition = ("val" if at % 4 == 0 else "train"), ("known" if at % 3 == 0 else "clean")
        said.append({"utterance_id": f"u{at}", "text": " ".join(words), "condition": condition, "split": split})
    folder.mkdir(exist_ok=True)
    pd.DataFrame(audio).to_parquet(folder / "audio.parquet")
    pd.DataFrame(said).to_parquet(folder / "utterances.parquet")
    return {"corpus": folder / "audio.parquet", "examples": folder / "utterances.parquet"}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    return {**make_speech(folder), "base": make_tiny_whisper(folder / "base")}


def test_a_whisper_learns_and_merges_into_one_that_says_the_same(room, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_CHECKPOINTS", str(tmp_path / "checkpoints"))
    metrics = train(
        **room, hyperparameters=HYPER, settings=SETTINGS, adapter=tmp_path / "adapter", history=tmp_path / "h.html"
    )
    record = json.loads((tmp_path / "adapter/training.json").read_text())
    losses = [row["loss"] for row in record["steps"]]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert metrics["wer_val"] == pytest.approx(1 - metrics["word_accuracy_val"]) and "wer_val_known" in metrics
    assert record["metric"] == "word_accuracy_val" and metrics["training_utterances"] == 18
    assert "word_accuracy_val" in (tmp_path / "h.html").read_text()
    assert metrics["word_accuracy_val"] > metrics["word_accuracy_val_base"]
    names = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert any("encoder_attn.q_proj" in name for name in names) and not any("proj_out" in name for name in names)
    merged = merge(room["base"], tmp_path / "adapter", tmp_path / "merged")
    assert merged["max_abs_difference"] < 1e-4 and merged["mean_shift_cosine"] < 0.9999
    whisper = TorchWhisper(tmp_path / "merged")
    assert whisper.spec.adapter["rank"] == 4 and whisper.speech == TorchWhisper(room["base"]).speech


def test_greedy_says_what_is_most_probable_after_every_token(room):
    whisper = TorchWhisper(room["base"])
    features = whisper.features([tone(word).astype(np.float32) for word in SPOKEN[:2]])
    said = whisper.greedy(features, 6)
    for row, ids in enumerate(said):
        tokens = list(whisper.prefix)
        for following in [*ids, *([whisper.speech.tokens.eot] if len(ids) < 6 else [])]:
            with torch.inference_mode():
                scores = whisper.logits(features[row : row + 1], torch.tensor([tokens]))[0, -1]
            assert int(scores.argmax()) == following
            tokens.append(following)


def test_tokens_are_forced_behind_the_prefix_and_silence_is_no_speech(room):
    settings = Settings(**SETTINGS)
    told = learner(room["base"], _data(room, settings), _hyper(), settings)
    told.data.train.ids[0] = []
    tokens, labels = told._tokens([0, 1])
    special, ids = told.whisper.speech.tokens, told.data.train.ids[1]
    assert tokens[1].tolist()[: 4 + len(ids)] == [*told.whisper.prefix, *ids]
    assert labels[1].tolist()[3 : 4 + len(ids)] == [*ids, special.eot]
    assert labels[0].tolist()[:4] == [special.no_speech, *told.whisper.prefix[2:], special.eot]
    assert labels[0].tolist()[4:] == [-100] * (labels.shape[1] - 4)


def _hyper(**changed):
    return Hyperparameters(**{**HYPER, **changed})


def _data(room, settings):
    return read(room["base"], room["corpus"], room["examples"], settings)


def test_ranks_together_have_the_gradient_of_one_process(room):
    settings, rows = Settings(**SETTINGS), [3, 1, 4, 0, 5]
    gradients = []
    for worlds in ([World()], [World(0, 2), World(1, 2)]):
        whisper = learner(room["base"], _data(room, settings), _hyper(), settings)
        trainer = Trainer(whisper, _hyper(), settings)
        for world in worlds:
            whisper.loss(rows, np.random.default_rng(1), world).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in trainer.parameters]))
    assert torch.allclose(*gradients, atol=1e-6) and gradients[0].abs().max() > 0


def test_every_batch_mixes_conditions_and_rehearses_what_is_known():
    conditions = ["clean"] * 30 + ["noise"] * 15 + ["known"] * 5
    batches = mixed(conditions, 10, np.random.default_rng(0), share=0.25)
    rows = [row for batch in batches for row in batch]
    assert set(rows) == set(range(50)) and sum(conditions[row] == "known" for row in rows) == 15
    assert all({conditions[row] for row in batch} == {"clean", "noise", "known"} for batch in batches[:-1])
    assert batches == mixed(conditions, 10, np.random.default_rng(0), share=0.25)
    assert sorted(sum(mixed(["known"] * 4, 3, np.random.default_rng(0), share=0.5), [])) == [0, 1, 2, 3]


def test_speed_changes_length_and_pitch_and_masks_leave_most_of_the_sound():
    wave = tone(SPOKEN[2]).astype(np.float32)
    fast = change_speed(wave, 1.1)
    assert len(fast) == pytest.approx(len(wave) / 1.1, abs=1)
    peak = np.abs(np.fft.rfft(fast)).argmax() * 16000 / len(fast)
    assert peak == pytest.approx(990, abs=5)
    placed = place(np.arange(4.0, dtype=np.float32).reshape(1, 4) + 1, 10, 600)
    assert placed.shape == (1, 600) and placed[0, 10:14].tolist() == [1, 2, 3, 4] and placed.sum() == 606
    features = np.random.default_rng(0).normal(size=(80, 600)).astype(np.float32)
    holes = mask(features, 200, 2, 12, 2, 40, np.random.default_rng(3)) != features
    assert 0 < holes.mean() < 0.45 and not holes[:, 200:][~holes[:, :200].all(1)].any()


def test_word_errors_are_summed_over_the_split_and_told_by_condition():
    said = ["The water, and the moon.", "river moon", ""]
    found = word_errors(["the water and the moon", "river", "nine"], said, ["a", "b", "b"], "basic", "val")
    assert found == {"word_accuracy_val": 1 - 2 / 7, "wer_val": 2 / 7, "wer_val_a": 0.0, "wer_val_b": 1.0}


def test_a_study_of_speech_searches_its_own_space(room, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_STUDY", str(tmp_path / "study.log"))
    space = {"rank": [2], "batch": [8], "precision": ["fp32"], "target_modules": ["qv"]}
    settings = {"n_trials": 1, "trial_rows": 16, "rungs": 1, "space": space}
    name = create(**room, settings=settings)
    assert search(name, 0, **room, settings=settings) == 1
    from components.tasks import find

    chosen = tune_settings(find("transcription").learning(), settings)
    assert chosen.space.accumulation == (1,) and chosen.trial_rows == 16 and chosen.start["learning_rate"] == 1e-3


def test_what_cannot_be_learned_from_is_named(room, tmp_path, capsys):
    audio, said = pd.read_parquet(room["corpus"]), pd.read_parquet(room["examples"])
    audio.drop(columns="samples").to_parquet(tmp_path / "audio.parquet")
    with pytest.raises(SluiceError, match="no column 'samples'"):
        read_tables(tmp_path / "audio.parquet", room["examples"])
    audio.iloc[1:].to_parquet(tmp_path / "audio.parquet")
    with pytest.raises(SluiceError, match="no audio of utterance u0"):
        read_tables(tmp_path / "audio.parquet", room["examples"])
    audio.at[1, "samples"] = bytes(2 * 7 * 16000)
    audio.to_parquet(tmp_path / "audio.parquet")
    data = read(room["base"], tmp_path / "audio.parquet", room["examples"], Settings())
    assert len(data.train) == 17 and "1 of 18 train utterances are too long" in capsys.readouterr().err
    said.assign(split="train").to_parquet(tmp_path / "said.parquet")
    with pytest.raises(SluiceError, match="none of split 'val'"):
        read(room["base"], room["corpus"], tmp_path / "said.parquet", Settings())
    with pytest.raises(SluiceError, match="language 'fi'"):
        TorchWhisper(make_general_whisper(tmp_path / "general"), "fi")
