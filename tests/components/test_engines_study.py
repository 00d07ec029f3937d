"""The study over a real PostgreSQL, its workers real processes that are killed and suspended."""

import json
import signal
import subprocess
import sys
import warnings
from collections import Counter

import pytest
from engines import free_port, postgres, wait_for
from tiny_encoder import make_base, make_tables

from components.tune.search import search
from components.tune.settings import TuneSettings
from components.tune.study import OWNER, counts, create, join, release_dead, storage
from serving.contract.errors import SluiceError

SPACE = {"rank": [2, 4], "alpha_ratio": [1.0, 2.0], "batch": [8, 16], "precision": ["fp32"], "target_modules": ["qv"]}
RATES = [1e-3, 2e-3, 3e-3, 5e-3, 6e-3, 7e-3]
SETTINGS = {"n_trials": 1 + len(RATES), "startup_trials": 2, "trial_rows": 1200, "rungs": 2,
            "start": {"learning_rate": 4e-3}, "space": {**SPACE, "learning_rate": [1e-3, 2e-2]},
            "train": {"max_tokens": 32, "eval_passages": 0, "epochs": 99}}  # fmt: skip
WORKER = "import json, sys; from components.tune.search import search; print(search(**json.loads(sys.argv[1])))"


def start(name: str, number: int, room: dict[str, str]) -> subprocess.Popen:
    told = json.dumps({"study": name, "worker": number, "settings": SETTINGS, **room})
    return subprocess.Popen([sys.executable, "-c", WORKER, told], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def in_a_trial(study, worker: subprocess.Popen) -> bool:
    """Whether the worker is within the seconds before the first figure of a trial."""
    assert worker.poll() is None, worker.stderr.read().decode()
    owned = [t for t in study.get_trials() if t.user_attrs.get(OWNER, "").endswith(f":{worker.pid}")]
    return any(t.state.name == "RUNNING" and not t.intermediate_values for t in owned)


def lost(study) -> list:
    return [t for t in study.get_trials() if t.state.name == "FAIL" and "surplus" not in t.user_attrs]


@pytest.fixture
def study(tmp_path, monkeypatch):
    passages, questions = make_tables(tmp_path)
    room = {"corpus": str(passages), "examples": str(questions), "base": str(make_base(tmp_path))}
    with postgres() as url:
        monkeypatch.setenv("SLUICE_STUDY", url)
        monkeypatch.setenv("SLUICE_STUDY_HEARTBEAT_S", "1")
        shared = join(create(**room, settings=SETTINGS), TuneSettings.model_validate(SETTINGS))
        yield shared, room
        shared._storage.remove_session()


@pytest.mark.e2e
def test_workers_killed_and_suspended_lose_no_trial_and_run_none_twice(study):
    shared, room = study
    for rate in RATES:
        shared.enqueue_trial({"learning_rate": rate, "dropout": 0.05})
    workers = [start(shared.study_name, number, room) for number in range(3)]
    try:
        wait_for(lambda: in_a_trial(shared, workers[0]), seconds=120)
        workers[0].send_signal(signal.SIGKILL)
        wait_for(lambda: in_a_trial(shared, workers[1]), seconds=120)
        workers[1].send_signal(signal.SIGSTOP)
        wait_for(lambda: len(lost(shared)) == 2, seconds=120)
        workers[1].send_signal(signal.SIGCONT)
        said = [worker.communicate(timeout=180) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    print(*(log.decode() for _, log in said), sep="\n--\n")
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0, 0]
    assert [out.split()[-1] for out, _ in said[1:]] == [b"7", b"7"]
    assert b"taken this trial over" in said[1][1]
    done = [t for t in shared.get_trials() if t.state.name in {"COMPLETE", "PRUNED"}]
    assert Counter(t.params["learning_rate"] for t in done) == Counter([4e-3, *RATES])
    owners = [t.user_attrs[OWNER].rpartition(":")[2] for t in lost(shared)]
    assert sorted(owners) == sorted(str(worker.pid) for worker in workers[:2])
    assert {t.number for t in lost(shared)} == {
        t.system_attrs["failed_trial"] for t in done if "failed_trial" in t.system_attrs
    }


@pytest.mark.e2e
def test_a_worker_stays_until_the_last_trials_of_others_are_finished_and_takes_over_those_that_die(study):
    shared, room = study
    told = {**SETTINGS, "n_trials": 1, "trial_rows": 32}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # asked without a heartbeat, as when killed before the first
        silent = shared.ask()
    wait_for(lambda: release_dead(shared) == 1)
    assert release_dead(shared) == 0
    assert search(shared.study_name, 0, **room, settings=told) == 1
    assert counts(shared) == {"finished": 1, "running": 0, "failed": 1}
    assert shared.trials[1].params["learning_rate"] == 4e-3
    assert shared.trials[1].system_attrs["failed_trial"] == silent.number


def test_a_database_that_does_not_answer_is_named_without_its_password(monkeypatch):
    for url in (
        f"postgresql+psycopg://ada:hush@127.0.0.1:{free_port()}/study",
        "nothing://ada:hush@h/study",
        "://hush",
    ):
        monkeypatch.setenv("SLUICE_STUDY", url)
        with pytest.raises(SluiceError, match="SLUICE_STUDY: .* cannot be used") as caught:
            storage()
        assert "hush" not in str(caught.value)
