"""What the study may search, and how small its trials are."""

from typing import Any, Literal

from pydantic import Field

from components.common.step import Settings
from components.tasks import Learning
from components.train.settings import Hyperparameters, TrainSettings


class Space(Settings):
    """The search space: lists are choices, pairs are ranges; ``alpha_ratio`` is alpha over rank."""

    rank: tuple[int, ...] = (8, 16, 32)
    alpha_ratio: tuple[float, ...] = (1.0, 2.0)
    dropout: tuple[float, float] = (0.0, 0.1)
    learning_rate: tuple[float, float] = (1e-4, 8e-4)
    batch: tuple[int, ...] = (32, 64)
    accumulation: tuple[int, ...] = (1, 2)
    precision: tuple[Literal["auto", "bf16", "fp32"], ...] = ("auto", "fp32")
    target_modules: tuple[Literal["qv", "attention", "all"], ...] = ("qv", "all")


START: dict[str, Any] = {
    "rank": 16,
    "alpha_ratio": 2.0,
    "dropout": 0.0,
    "learning_rate": 4e-4,
    "batch": 64,
    "accumulation": 1,
    "precision": "auto",
    "target_modules": "all",
}
"""The first trial: what a person would take without a study, so that the study never ends below it."""


class TuneSettings(Settings):
    """Size of the study.

    ``n_trials`` finished trials end it; each trains on ``trial_rows`` rows, in whole steps, and is measured ``rungs``
    times: the worse half stops at each rung. ``startup_trials`` are random before TPE begins;
    ``start`` changes the first trial (`START`). ``train`` is what a trial's training settings have that the task's
    defaults have not (shorter inputs, fewer validation rows). ``experiment`` names the study in MLflow ("": the task).
    """

    seed: int = 17
    n_trials: int = Field(6, ge=1)
    startup_trials: int = Field(3, ge=1)
    trial_rows: int = Field(384, ge=8)
    rungs: int = Field(3, ge=1)
    threads: int = Field(1, ge=1)
    experiment: str = ""
    start: dict[str, Any] = {}
    space: Space = Space()
    train: dict[str, Any] = {}


def tune_settings(task: Learning, told: dict[str, Any]) -> TuneSettings:
    """Section "tune" of a system's YAML over the task's own defaults (``STUDY`` of components/tasks/<task>)."""
    own = task.STUDY
    nested = {name: {**own.get(name, {}), **told.get(name, {})} for name in ("start", "space", "train")}
    return TuneSettings.model_validate({**own, **told, **nested})


def suggest(trial: Any, space: Space) -> dict[str, Any]:
    """Ask an Optuna trial for one point of the space, by the parameters' own names."""
    return {
        "rank": trial.suggest_categorical("rank", space.rank),
        "alpha_ratio": trial.suggest_categorical("alpha_ratio", space.alpha_ratio),
        "dropout": trial.suggest_float("dropout", *space.dropout),
        "learning_rate": trial.suggest_float("learning_rate", *space.learning_rate, log=True),
        "batch": trial.suggest_categorical("batch", space.batch),
        "accumulation": trial.suggest_categorical("accumulation", space.accumulation),
        "precision": trial.suggest_categorical("precision", space.precision),
        "target_modules": trial.suggest_categorical("target_modules", space.target_modules),
    }


def start_in(settings: TuneSettings) -> dict[str, Any]:
    """The part of the first trial that lies inside the space; the sampler chooses the rest."""
    inside = {}
    for name, value in {**START, **settings.start}.items():
        allowed = getattr(settings.space, name)
        ranged = name in {"dropout", "learning_rate"}
        if allowed[0] <= value <= allowed[1] if ranged else value in allowed:
            inside[name] = value
    return inside


def hyperparameters_of(params: dict[str, Any]) -> Hyperparameters:
    """The study's parameters in the form that training takes."""
    rest = {name: value for name, value in params.items() if name != "alpha_ratio"}
    return Hyperparameters(alpha=params["rank"] * params["alpha_ratio"], **rest)


def trial_settings(settings: TuneSettings, hyper: Hyperparameters, task: Learning) -> TrainSettings:
    """A short training run in the task's own settings: as many steps as ``trial_rows`` fill, no checkpoints."""
    steps = max(settings.rungs, settings.trial_rows // (hyper.batch * hyper.accumulation))
    common = {"seed": settings.seed, "max_steps": steps, "evaluations": settings.rungs, "threads": settings.threads}
    return task.Settings.model_validate({"epochs": 1, **common, **settings.train})
