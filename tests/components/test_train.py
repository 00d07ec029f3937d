import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from kfp.dsl import HTML, Dataset, Metrics, Model
from safetensors.torch import load_file
from tiny_encoder import make_base, make_tables

from components.common.encoder import TorchEncoder
from components.tasks.retrieval.learning import Settings, learner, read
from components.tasks.retrieval.learning.contrast import info_nce
from components.tasks.retrieval.learning.data import corpus, read_tables
from components.tasks.retrieval.learning.mining import mine, plan
from components.train.component import train as train_step
from components.train.learner import use_bf16
from components.train.loop import Checkpoint, Trainer, learning_rate
from components.train.run import run_digest, train
from components.train.settings import Hyperparameters
from serving.contract.errors import SluiceError

HYPER = {"rank": 4, "alpha": 8, "learning_rate": 0.01, "batch": 8, "precision": "fp32", "dropout": 0.1}
SETTINGS = {"epochs": 3, "max_tokens": 32, "evaluations": 2, "checkpoint_every": 2, "eval_passages": 0}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    passages, questions = make_tables(folder)
    return {"corpus": passages, "examples": questions, "base": make_base(folder)}


@pytest.fixture
def encoder(room):
    return TorchEncoder(room["base"], 32)


def run(room, target, **settings):
    return train(
        **room, hyperparameters=HYPER, settings={**SETTINGS, **settings}, adapter=target, history=f"{target}.html"
    )


def weights(directory):
    return load_file(directory / "adapter_model.safetensors")


def test_training_learns_and_one_seed_gives_one_result(room, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_CHECKPOINTS", str(tmp_path / "checkpoints"))
    first, again = run(room, tmp_path / "a"), run(room, tmp_path / "b")
    record = json.loads((tmp_path / "a/training.json").read_text())
    losses = [row["loss"] for row in record["steps"]]
    assert first == again
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert first["mrr_full_withheld_val"] > first["mrr_full_withheld_val_base"]
    one, two = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not list((tmp_path / "checkpoints").glob("*"))
    page = (tmp_path / "a.html").read_text()
    assert "<svg" in page and "mrr_full_withheld_val" in page


def test_a_killed_run_resumes_to_the_result_of_an_uninterrupted_one(room, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_CHECKPOINTS", str(tmp_path / "checkpoints"))
    whole = run(room, tmp_path / "whole")

    class Killed(Exception):
        pass

    def die(step, steps, loss):
        if step == 5:
            raise Killed

    hyper, settings = Hyperparameters(**HYPER), Settings(**SETTINGS)
    checkpoint = Checkpoint(run_digest({**room, "adapter": ""}, hyper, settings))
    with pytest.raises(Killed):
        trainer_of(room, hyper, settings).run(checkpoint, tick=die)
    assert checkpoint.load()["at"] == 4
    resumed = run(room, tmp_path / "resumed")
    assert resumed == whole
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "resumed")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not checkpoint.directory.exists()


def trainer_of(room, hyper, settings):
    data = read(room["base"], room["corpus"], room["examples"], settings)
    return Trainer(learner(room["base"], data, hyper, settings), hyper, settings)


def test_questions_are_withheld_from_the_passages_that_are_learned(room):
    passages, questions = read_tables(room["corpus"], room["examples"])
    text = dict(zip(passages.passage_id, passages.text, strict=True))
    assert all(row.withheld not in text[row.gold[0]] for row in questions.itertuples())


def test_every_asked_passage_is_in_the_plan_once_and_beside_its_hard_negatives(room, encoder):
    data = corpus(*read_tables(room["corpus"], room["examples"]), "train", encoder)
    hard = mine(encoder, data, keep=2, duplicate=0.999)
    for question, golds in enumerate(data.golds):
        assert not golds & set(hard[data.first[question]])
    asked = data.questions_of()
    assert any(hard[row] for row in asked) and not any(hard[row] for row in range(len(hard)) if row not in asked)
    batches = plan(data, hard, 8, seed=1, epoch=0)
    seen = [row for batch in batches for row in batch if row in asked]
    assert len(seen) == len(set(seen)) >= len(asked) - 8
    assert all(len(set(batch)) == 8 for batch in batches)
    assert batches == plan(data, hard, 8, seed=1, epoch=0) != plan(data, hard, 8, seed=1, epoch=1)
    beside = [len(set(hard[row]) & set(batch)) for batch in batches for row in batch if row in asked]
    by_chance = [len(set(hard[row]) & set(batch)) for batch in plan(data, [[]] * len(hard), 8, 1, 0) for row in batch]
    assert np.mean(beside) > np.mean(by_chance) + 0.2


def test_another_right_answer_does_not_count_as_wrong():
    questions, passages = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.6], [1.0, 0.0], [0.0, 1.0]])
    target, everything = torch.tensor([0]), torch.ones(1, 3, dtype=torch.bool)
    lenient = everything.clone()
    lenient[0, 1] = False
    strict_loss = info_nce(questions, passages, target, everything, 0.1)
    loss = info_nce(questions, passages, target, lenient, 0.1)
    assert loss < 0.01 < strict_loss
    wanted = -np.log(np.exp(8) / (np.exp(8) + np.exp(10) + np.exp(0)))
    assert float(strict_loss) == pytest.approx(wanted, rel=1e-4)


def test_learning_rate_warms_up_and_decays_to_nearly_nothing():
    hyper = Hyperparameters(learning_rate=1.0)
    rates = [learning_rate(step, 20, hyper) for step in range(20)]
    assert rates[0] == 0.5 and max(rates) == 1.0 and 0 < rates[-1] < 0.06
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_precision_follows_the_hyperparameters_and_bf16_trains(room):
    assert use_bf16("bf16") and not use_bf16("fp32")
    hyper = Hyperparameters(**{**HYPER, "precision": "bf16", "accumulation": 2, "target_modules": "qv"})
    trainer = trainer_of(room, hyper, Settings(**{**SETTINGS, "epochs": 1}))
    done = trainer.run()
    assert all(np.isfinite(row["loss"]) for row in done.steps)
    assert [len(step) for step in trainer.steps][0] == 2


def test_missing_columns_and_splits_are_named(room, tmp_path):
    import pandas as pd

    pd.read_parquet(room["examples"]).drop(columns="gold").to_parquet(tmp_path / "questions.parquet")
    with pytest.raises(SluiceError, match="no column 'gold'"):
        read_tables(room["corpus"], tmp_path / "questions.parquet")
    with pytest.raises(SluiceError, match="no such file"):
        read_tables(tmp_path / "passages.parquet", room["examples"])
    passages, questions = read_tables(room["corpus"], room["examples"])
    with pytest.raises(SluiceError, match="none of split 'persona'"):
        corpus(passages, questions, "persona", TorchEncoder(room["base"]))


def test_the_step_takes_hyperparameters_as_kfp_sends_them(room, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_CHECKPOINTS", str(tmp_path / "checkpoints"))
    metrics = Metrics(uri=str(tmp_path / "metrics"))
    train_step.python_func(
        corpus=Dataset(uri=str(room["corpus"])),
        examples=Dataset(uri=str(room["examples"])),
        base=Model(uri=str(room["base"])),
        hyperparameters={**HYPER, "rank": 4.0, "batch": 8.0},
        settings={**SETTINGS, "epochs": 1.0, "max_steps": 2.0, "eval_passages": 10.0},
        adapter=Model(uri=str(tmp_path / "adapter")),
        metrics=metrics,
        history=HTML(uri=str(tmp_path / "history.html")),
    )
    assert metrics.metadata["steps"] == 2 and "mrr_of12_withheld_val" in metrics.metadata
    config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
    assert config["r"] == 4 and str(tmp_path) not in json.dumps(config["target_modules"])


@pytest.mark.e2e
def test_two_processes_learn_what_one_learns(room, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_CHECKPOINTS", str(tmp_path / "checkpoints"))
    hyper = {**HYPER, "dropout": 0.0}
    common = {**room, "hyperparameters": hyper}
    one = train(**common, settings=SETTINGS, adapter=tmp_path / "one", history=tmp_path / "one.html")
    two = train(
        **common, settings={**SETTINGS, "processes": 2}, adapter=tmp_path / "two", history=tmp_path / "two.html"
    )
    losses = [
        [row["loss"] for row in json.loads((tmp_path / n / "training.json").read_text())["steps"]]
        for n in ("one", "two")
    ]
    assert np.allclose(*losses, atol=1e-3)
    assert one["mrr_full_withheld_val"] == pytest.approx(two["mrr_full_withheld_val"], abs=0.02)
    single, double = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert all((single[name] - double[name]).abs().max() < 1e-2 for name in single)


@pytest.mark.e2e
def test_torchrun_starts_the_module_and_a_bad_input_stops_it_with_one_sentence(room, tmp_path):
    environment = {**os.environ, "SLUICE_CHECKPOINTS": str(tmp_path / "checkpoints"), "OMP_NUM_THREADS": "1"}
    (tmp_path / "settings.json").write_text(json.dumps({**SETTINGS, "max_steps": 2}))
    (tmp_path / "hyper.json").write_text(json.dumps(HYPER))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "components.train", "--adapter", str(tmp_path / "adapter"), "--history", str(tmp_path / "h.html")]
    command += ["--settings", str(tmp_path / "settings.json"), "--hyperparameters", str(tmp_path / "hyper.json")]
    for name, path in room.items():
        command += [f"--{name}", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"steps": 2' in done.stdout and (tmp_path / "h.html").is_file()
    shutil.rmtree(tmp_path / "adapter")
    alone = [sys.executable, "-m", *command[command.index("components.train") :]]
    alone[alone.index("--base") + 1] = str(tmp_path / "nothing")
    bad = subprocess.run(alone, env=environment, capture_output=True, text=True, check=False)
    assert bad.returncode == 1 and "no sluice.json" in bad.stderr and "Traceback" not in bad.stderr
    assert not (tmp_path / "adapter").exists()
