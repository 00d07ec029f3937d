import os
import subprocess
import sys

import pytest
from kfp.dsl import HTML, Artifact, Dataset, Metrics, Model
from tiny_encoder import make_base, make_tables

from components.tasks import find
from components.train.settings import Hyperparameters
from components.tune.component import best_trial, create_study, search
from components.tune.report import write_page
from components.tune.search import search as search_files
from components.tune.settings import Space, TuneSettings, hyperparameters_of, start_in, trial_settings
from components.tune.study import OWNER, counts, create, join, release_dead
from serving.contract.errors import SluiceError

SPACE = {"rank": [2, 4], "batch": [8, 16], "precision": ["fp32"], "learning_rate": [0.001, 0.02]}
SETTINGS = {"n_trials": 4, "startup_trials": 2, "trial_rows": 32, "rungs": 2, "space": SPACE}
SETTINGS["train"] = {"max_tokens": 32}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    passages, questions = make_tables(folder)
    return {"corpus": passages, "examples": questions, "base": make_base(folder)}


@pytest.fixture
def journal(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_STUDY", str(tmp_path / "study.log"))


def test_workers_share_one_study_and_stop_when_it_has_enough_trials(room, journal, tmp_path):
    name = create(**room, settings=SETTINGS)
    assert create(**room, settings=SETTINGS) == name != create(**room, settings={**SETTINGS, "seed": 1})
    done = search_files(name, 0, **room, settings=SETTINGS)
    assert done == 4 == search_files(name, 1, **room, settings=SETTINGS)
    chosen = TuneSettings.model_validate(SETTINGS)
    study = join(name, chosen)
    assert counts(study) == {"finished": 4, "running": 0, "failed": 0}
    assert study.trials[0].params["batch"] == 8 or study.trials[0].params["batch"] == 16
    assert all(set(trial.intermediate_values) <= {1, 2} for trial in study.trials)
    assert Hyperparameters.model_validate(hyperparameters_of(study.best_params).model_dump())
    write_page(study, study.best_trial, hyperparameters_of(study.best_params).model_dump(), tmp_path / "study.html")
    page = (tmp_path / "study.html").read_text()
    assert page.count("<svg") >= 2 and "learning_rate" in page


@pytest.mark.parametrize(
    "cut",
    [lambda line: line[:25], lambda line: line[:-1], lambda line: b"\0" * 4096, lambda line: b"{"],
    ids=["half", "all but the end", "NULs", "one sign"],
)
def test_a_journal_that_a_crash_left_half_written_is_mended_and_its_studies_go_on(room, journal, tmp_path, capsys, cut):
    place = tmp_path / "study.log"
    name = create(**room, settings=SETTINGS)
    before = place.read_bytes()
    join(name, TuneSettings.model_validate(SETTINGS)).ask()
    after = place.read_bytes().removeprefix(before)
    damage = cut(before.splitlines()[-1])
    for found, taken in ((before + damage, 0), (before + damage + after, 1)):  # and a worker that wrote on behind it
        place.write_bytes(found)
        study = join(name, TuneSettings.model_validate(SETTINGS))
        assert counts(study)["running"] == taken
        assert place.with_name("study.log.damaged").read_bytes() == found
        assert place.read_bytes() == (before + after if taken else before)
        study.ask()
        assert counts(join(name, TuneSettings.model_validate(SETTINGS)))["running"] == taken + 1
    assert "unfinished bytes were cut out" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["notes of mine", "{}", "null"])
def test_a_file_that_is_no_journal_is_one_sentence_and_stays_as_it_is(room, journal, tmp_path, line):
    (tmp_path / "study.log").write_text(f"{line}\n")
    with pytest.raises(SluiceError, match=r"study.log, line 1: no record of Optuna .*move the file away"):
        create(**room, settings=SETTINGS)
    assert (tmp_path / "study.log").read_text() == f"{line}\n"


def test_the_trial_of_a_killed_worker_is_queued_again(room, journal):
    name = create(**room, settings=SETTINGS)
    chosen = TuneSettings.model_validate(SETTINGS)
    study = join(name, chosen)
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    trial = study.ask()
    trial.suggest_categorical("rank", chosen.space.rank)
    trial.set_user_attr(OWNER, f"{os.uname().nodename}:{gone.pid}")
    alive = study.ask()
    alive.set_user_attr(OWNER, f"{os.uname().nodename}:{os.getpid()}")
    assert release_dead(study) == 1
    assert counts(study) == {"finished": 0, "running": 1, "failed": 1}
    assert study.ask().suggest_categorical("rank", chosen.space.rank) == trial.params["rank"]


def test_a_database_url_gives_a_storage_with_heartbeat(room, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_STUDY", f"sqlite:///{tmp_path}/study.db")
    name = create(**room, settings=SETTINGS)
    study = join(name, TuneSettings.model_validate(SETTINGS))
    assert study._storage.get_heartbeat_interval() == 10
    study._storage.remove_session()


def test_an_unknown_study_and_missing_inputs_are_named(room, journal, tmp_path):
    create(**room, settings=SETTINGS)
    with pytest.raises(SluiceError, match="study sluice-none: not in"):
        search_files("sluice-none", 0, **room, settings=SETTINGS)
    with pytest.raises(SluiceError, match="corpus: .* does not exist"):
        create(tmp_path / "none", room["examples"], room["base"], SETTINGS)


def test_the_first_trial_is_what_a_person_would_take_where_the_space_allows_it():
    assert start_in(TuneSettings())["rank"] == 16 and start_in(TuneSettings())["learning_rate"] == 4e-4
    assert "rank" not in start_in(TuneSettings(space=Space(rank=(2,)))) and "learning_rate" not in start_in(
        TuneSettings(space=Space(learning_rate=(1e-5, 1e-4)))
    )


def test_trials_see_the_same_number_of_rows_whatever_their_batch():
    settings = TuneSettings(trial_rows=256, rungs=2)
    for batch, accumulation in ((32, 1), (64, 1), (32, 2)):
        hyper = Hyperparameters(batch=batch, accumulation=accumulation)
        assert trial_settings(settings, hyper, find("retrieval").learning()).max_steps * batch * accumulation == 256


@pytest.mark.e2e
def test_a_study_runs_in_steps_and_lands_in_mlflow_once(room, journal, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    inputs = {n: Dataset(uri=str(room[n])) for n in ("corpus", "examples")} | {"base": Model(uri=str(room["base"]))}
    name = Artifact(uri=str(tmp_path / "name"))
    create_study.python_func(**inputs, settings=SETTINGS, study=name)
    done = [search.python_func(study=name, worker=worker, **inputs, settings=SETTINGS) for worker in (0, 1)]
    metrics, page = Metrics(uri=str(tmp_path / "m")), HTML(uri=str(tmp_path / "h.html"))
    for _ in range(2):
        best = best_trial.python_func(study=name, done=done, settings=SETTINGS, history=page, metrics=metrics)
    assert Hyperparameters.model_validate(best) and metrics.metadata["best_value"] > 0
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/home/mlflow.db")
    experiment = client.get_experiment_by_name("retrieval study")
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1 and len(runs) == 5
    nested = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert len(nested) == 4 and all("learning_rate" in run.data.params for run in nested)
    assert all(client.get_metric_history(run.info.run_id, "mrr_full_withheld_val") for run in nested)
