"""The shared study: created once, joined by every worker, wherever its storage is."""

import os
import socket
import warnings
from hashlib import sha256
from pathlib import Path
from typing import Any

from components.task import part, task_of
from components.tune.settings import TuneSettings, start_in, tune_settings
from serving.errors import SluiceError
from serving.files import digest, home

OWNER = "owner"


def storage() -> Any:
    """The storage that ``SLUICE_STUDY`` names: a database URL (with heartbeat, so that the trial of a killed worker is
    retried by the others), or a journal file; default: a journal below the home directory.
    """
    import optuna
    from optuna.storages import JournalStorage, RDBStorage, RetryHeartbeatStaleTrialCallback
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = os.environ.get("SLUICE_STUDY") or str(home() / "study" / "journal.log")
    if "://" in place:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # experimental since 2021
            retry = RetryHeartbeatStaleTrialCallback(max_retry=3)
            return RDBStorage(place, heartbeat_interval=10, grace_period=60, heartbeat_stale_trial_callback=retry)
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(place))


def create(corpus: Path | str, examples: Path | str, base: Path | str, settings: dict[str, Any]) -> str:
    """Create the study unless it exists; returns its name, a digest of the inputs' content and the settings.

    The same inputs come back to the same study, so a killed search goes on and a finished one is not repeated.
    """
    import optuna

    for name, path in {"corpus": corpus, "examples": examples, "base": base}.items():
        if not Path(path).exists():
            raise SluiceError(f"{name}: {path} does not exist; run the step that makes it first")
    task = task_of(base)
    chosen = tune_settings(part("train", task), settings)
    parts = [digest(path) for path in (corpus, examples, base)] + [chosen.model_dump_json()]
    name = "sluice-" + sha256("|".join(parts).encode()).hexdigest()[:16]
    study = optuna.create_study(storage=storage(), study_name=name, direction="maximize", load_if_exists=True)
    if not study.get_trials(deepcopy=False):
        study.set_user_attr("task", task)
        study.enqueue_trial(start_in(chosen))
    return name


def join(name: str, settings: TuneSettings, worker: int = 0) -> Any:
    """The study with this worker's sampler (TPE, Bergstra et al. 2011) and the pruner (successive halving).

    Raises `SluiceError` when there is no such study.
    """
    import optuna

    try:
        return optuna.load_study(
            study_name=name,
            storage=storage(),
            sampler=optuna.samplers.TPESampler(seed=settings.seed + worker, n_startup_trials=settings.startup_trials),
            pruner=optuna.pruners.SuccessiveHalvingPruner(
                min_resource=1, reduction_factor=settings.reduction_factor, min_early_stopping_rate=0
            ),
        )
    except KeyError as error:
        raise SluiceError(f"study {name}: not in {os.environ.get('SLUICE_STUDY', 'the journal')}; create it") from error


def counts(study: Any) -> dict[str, int]:
    """Number of trials finished (complete or pruned), running and failed."""
    states = [trial.state.name for trial in study.get_trials(deepcopy=False)]
    finished = states.count("COMPLETE") + states.count("PRUNED")
    return {"finished": finished, "running": states.count("RUNNING"), "failed": states.count("FAIL")}


def owner() -> str:
    """Who runs a trial: this host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def release_dead(study: Any) -> int:
    """Fail the running trials of dead processes of this host and queue their parameters again; returns how many.

    A journal file has no heartbeat; without this the trial of a killed worker would count as running for ever.
    """
    import optuna

    released = 0
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        host, _, pid = trial.user_attrs.get(OWNER, "").rpartition(":")
        if host == socket.gethostname() and not _alive(int(pid)):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            study.enqueue_trial(trial.params)
            released += 1
    return released


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
