"""What the study may search, and how small its trials are."""

from typing import Any, Literal

from pydantic import Field

from components.step import Settings
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


class TuneSettings(Settings):
    """Size of the study.

    ``n_trials`` finished trials end it; each trains on ``trial_passages`` passages, in whole steps, with
    ``max_tokens``, and is measured ``rungs`` times on ``eval_questions`` among ``eval_passages``: the worse half
    (``reduction_factor`` 2) stops at each rung. ``startup_trials`` are random before TPE begins.
    """

    seed: int = 17
    n_trials: int = Field(6, ge=1)
    startup_trials: int = Field(3, ge=1)
    trial_passages: int = Field(384, ge=8)
    max_tokens: int = Field(64, ge=8)
    rungs: int = Field(3, ge=1)
    reduction_factor: int = Field(2, ge=2)
    eval_passages: int = Field(240, ge=2)
    eval_questions: int = Field(160, ge=1)
    threads: int = Field(1, ge=1)
    max_failures: int = Field(6, ge=0)
    experiment: str = "codebase study"
    space: Space = Space()


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


def start_in(space: Space) -> dict[str, Any]:
    """The part of `START` that lies inside ``space``; the sampler chooses the rest."""
    inside = {}
    for name, value in START.items():
        allowed = getattr(space, name)
        ranged = name in {"dropout", "learning_rate"}
        if allowed[0] <= value <= allowed[1] if ranged else value in allowed:
            inside[name] = value
    return inside


def hyperparameters_of(params: dict[str, Any]) -> Hyperparameters:
    """The study's parameters in the form that training takes."""
    rest = {name: value for name, value in params.items() if name != "alpha_ratio"}
    return Hyperparameters(alpha=params["rank"] * params["alpha_ratio"], **rest)


def trial_settings(settings: TuneSettings, hyper: Hyperparameters) -> TrainSettings:
    """A short training run: as many steps as ``trial_passages`` fill, no mining, no checkpoints."""
    return TrainSettings(
        seed=settings.seed,
        epochs=1,
        max_steps=max(settings.rungs, settings.trial_passages // (hyper.batch * hyper.accumulation)),
        max_tokens=settings.max_tokens,
        hard_negatives=0,
        evaluations=settings.rungs,
        threads=settings.threads,
    )
