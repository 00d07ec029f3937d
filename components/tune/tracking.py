"""The study in MLflow: one parent run, one nested run a trial."""

from typing import Any

from components.common.registry import client_of_mlflow, experiment_of
from components.tune.report import metric_of


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
