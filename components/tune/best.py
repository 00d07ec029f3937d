"""The end of a study: its best trial, its page, its record in MLflow."""

from pathlib import Path
from typing import Any

from components.common.registry import client_of_mlflow, experiment_of
from components.tune.report import metric_of
from components.tune.settings import TuneSettings, hyperparameters_of
from components.tune.study import counts, join
from serving.contract.errors import SluiceError


def best_trial(study: str, settings: dict[str, Any], history: Path | str) -> tuple[dict[str, Any], dict[str, float]]:
    """Hyperparameters of the best complete trial (a dict that training takes) and the study's metrics.

    Writes the page ``history`` and logs the study to MLflow. Metrics: ``best_value`` (the task's own
    figure, the best intermediate one of short runs, comparable within the study only), ``first_trial_value``, trials
    complete, pruned, failed. Raises `SluiceError` when no trial is complete.
    """
    from components.tune.report import write_page

    chosen = TuneSettings.model_validate(settings)
    shared = join(study, chosen)
    complete = [trial for trial in shared.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if not complete:
        raise SluiceError(f"study {study}: no trial is complete ({counts(shared)}); run the search again")
    winner = max(complete, key=lambda trial: (trial.value, -trial.number))
    best = hyperparameters_of(winner.params).model_dump()
    now = counts(shared)
    metrics = {
        "best_value": float(winner.value),
        "best_trial": float(winner.number),
        "first_trial_value": float(next((t.value for t in complete if t.number == 0), float("nan"))),
        "complete": float(len(complete)),
        "pruned": float(now["finished"] - len(complete)),
        "failed": float(now["failed"]),
    }
    log_study(shared, chosen.experiment or f"{shared.user_attrs.get('task', '')} study".strip(), best)
    write_page(shared, winner, best, history)
    return best, {name: value for name, value in metrics.items() if value == value}


def log_study(study: Any, experiment: str, best: dict[str, Any]) -> str:
    """Write a study to MLflow unless it is there; returns the parent run's id.

    Every trial becomes a nested run with its parameters and the figure of each rung (one `log_batch` a run), started
    and ended when the trial was. Store: ``$MLFLOW_TRACKING_URI``, default a SQLite file in the home directory.
    """
    from mlflow.entities import Param

    client = client_of_mlflow()
    place = experiment_of(client, experiment)
    known = client.search_runs([place], f"tags.study = '{study.study_name}' and tags.part = 'study'", max_results=1)
    if known:
        return str(known[0].info.run_id)
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]
    started = min(trial.datetime_start for trial in trials if trial.datetime_start)
    parent = client.create_run(
        place, _milliseconds(started), {"study": study.study_name, "part": "trials"}, run_name=study.study_name
    )
    identity = parent.info.run_id
    for trial in trials:
        _log_trial(client, place, identity, trial)
    client.log_batch(identity, params=[Param(name, str(value)) for name, value in best.items()])
    client.log_metric(identity, "best_value", study.best_value)
    client.set_tag(identity, "part", "study")  # only now is it whole: a killed step writes it again
    client.set_terminated(identity, end_time=_milliseconds(max(t.datetime_complete for t in trials)))
    return str(identity)


def _log_trial(client: Any, place: str, parent: str, trial: Any) -> None:
    from mlflow.entities import Metric, Param

    name, figure = f"trial {trial.number}", metric_of(trial)
    tags = {"mlflow.parentRunId": parent, "state": trial.state.name}
    begin, end = _milliseconds(trial.datetime_start or trial.datetime_complete), _milliseconds(trial.datetime_complete)
    run = client.create_run(place, begin, tags, run_name=name).info.run_id
    rungs = [Metric(figure, value, end, rung) for rung, value in sorted(trial.intermediate_values.items())]
    best = [Metric("value", trial.value, end, 0)] if trial.value is not None else []
    client.log_batch(run, metrics=rungs + best, params=[Param(k, str(v)) for k, v in trial.params.items()])
    client.set_terminated(run, "FAILED" if trial.state.name == "FAIL" else "FINISHED", end)


def _milliseconds(moment: Any) -> int:
    return int(moment.timestamp() * 1000)
