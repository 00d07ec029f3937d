"""The end of a study: its best trial, its page, its record in MLflow."""

from pathlib import Path
from typing import Any

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
    from components.tune.tracking import log_study

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
