"""The shared study: created once, joined by every worker, wherever its storage is."""

import contextlib
import os
import socket
import warnings
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from components.tasks import find, task_of
from components.tune.journal import mend
from components.tune.settings import TuneSettings, start_in, tune_settings
from serving.contract.errors import SluiceError
from serving.contract.files import digest, home

OWNER = "owner"
SURPLUS = "surplus"
GRACE = 6
"""Heartbeats that may fail before a worker counts as dead."""


def storage() -> Any:
    """The storage that ``SLUICE_STUDY`` names: a database URL, or a journal file; default: a journal below the home.

    Over a database every running trial gives a sign of life every ``SLUICE_STUDY_HEARTBEAT_S`` seconds (10); one that
    was silent six times as long is failed and queued again. A journal that a crash left half written is mended.
    Errors: `SluiceError` if the database does not answer, or the journal is no journal.
    """
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy import NullPool
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    place = os.environ.get("SLUICE_STUDY") or str(home() / "study" / "journal.log")
    if "://" not in place:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        mend(Path(place))
        return JournalStorage(JournalFileBackend(place))
    beat = int(os.environ.get("SLUICE_STUDY_HEARTBEAT_S", "10"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # experimental since 2021
            return RDBStorage(
                place,
                engine_kwargs={"poolclass": NullPool},  # no connection outlives its use: servers restart
                heartbeat_interval=beat,
                grace_period=GRACE * beat,
                heartbeat_stale_trial_callback=queue_again,
            )
    except (SQLAlchemyError, ImportError) as error:
        raise SluiceError(
            f"SLUICE_STUDY: {_without_password(place)} cannot be used ({str(error).splitlines()[0]}); "
            "name a database that answers, as in postgresql+psycopg://user:password@host/database"
        ) from error


def _without_password(url: str) -> str:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "its value, no database URL,"


def queue_again(study: Any, trial: Any) -> None:
    """Queue the parameters of a trial whose worker died, at most three times; whoever asks next runs them."""
    import optuna

    trial.user_attrs.pop(OWNER, None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3)(study, trial)


def create(corpus: Path | str, examples: Path | str, base: Path | str, settings: dict[str, Any]) -> str:
    """Create the study unless it exists; returns its name, a digest of the inputs' content and the settings.

    The same inputs come back to the same study, so a killed search goes on and a finished one is not repeated.
    """
    import optuna

    for name, path in {"corpus": corpus, "examples": examples, "base": base}.items():
        if not Path(path).exists():
            raise SluiceError(f"{name}: {path} does not exist; run the step that makes it first")
    task = task_of(base)
    chosen = tune_settings(find(task).learning(), settings)
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
                min_resource=1, reduction_factor=2, min_early_stopping_rate=0
            ),
        )
    except KeyError as error:
        raise SluiceError(f"study {name}: not in {os.environ.get('SLUICE_STUDY', 'the journal')}; create it") from error


class Surplus(Exception):
    """A trial that two workers started at once, one more than the study has room for."""


def refuse_surplus(study: Any, trial: Any, n_trials: int) -> None:
    """Raise `Surplus` in a trial before which ``n_trials`` others are finished, running or queued; retries may run.

    Workers count and ask in two steps, so two may ask for the last place; numbers, which the storage gives out one by
    one, decide between them.
    """
    taken = [t for t in study.get_trials(deepcopy=False) if t.number < trial.number and t.state.name != "FAIL"]
    if len(taken) >= n_trials and "failed_trial" not in trial.system_attrs:
        trial.set_user_attr(SURPLUS, True)
        raise Surplus


def counts(study: Any) -> dict[str, int]:
    """Number of trials finished (complete or pruned), running and failed."""
    states = [t.state.name for t in study.get_trials(deepcopy=False) if SURPLUS not in t.user_attrs]
    finished = states.count("COMPLETE") + states.count("PRUNED")
    return {"finished": finished, "running": states.count("RUNNING"), "failed": states.count("FAIL")}


def owner() -> str:
    """Who runs a trial: this host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def heartbeat_s(study: Any) -> int:
    """Seconds between two signs of life of a running trial; 0 where the storage has none."""
    ask = getattr(study._storage, "get_heartbeat_interval", None)
    return (ask() if ask else None) or 0


def release_dead(study: Any) -> int:
    """Fail the running trials of dead workers and queue their parameters again; returns how many.

    Over a database silence is death; a trial that died before its first sign of life has no owner. A journal file has
    no heartbeat: there the dead processes of this host are looked for, or their trials would be running for ever.
    """
    import optuna

    beat, released = heartbeat_s(study), 0
    if beat:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        if not (_never_began(trial, GRACE * beat) if beat else _died_here(trial)):
            continue
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):  # another worker was faster
            if study._storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL):
                queue_again(study, trial)
                released += 1
    return released


def _never_began(trial: Any, grace_s: int) -> bool:
    return OWNER not in trial.user_attrs and datetime.now() - trial.datetime_start > timedelta(seconds=grace_s)


def _died_here(trial: Any) -> bool:
    host, _, pid = trial.user_attrs.get(OWNER, "").rpartition(":")
    return host == socket.gethostname() and not _alive(int(pid))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
