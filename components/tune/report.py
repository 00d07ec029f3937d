"""The study's page: history, importances, parallel coordinates."""

import math
import warnings
from pathlib import Path
from typing import Any

from components.common.page import Page, new_figure


def importances(study: Any) -> dict[str, float]:
    """Share (sum 1) that each parameter has in the study's outcome by PED-ANOVA (Watanabe et al. 2023).

    Empty where the study is too small to tell.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except (ValueError, RuntimeError, ZeroDivisionError):
            return {}
    return {name: float(value) for name, value in found.items() if math.isfinite(value)}


def write_page(study: Any, winner: Any, best: dict[str, Any], path: Path | str) -> None:
    """Write the study as one HTML file."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if trial.intermediate_values]
    page = Page("Study of hyperparameters", "Short runs; TPE proposes, successive halving stops the worse half early.")
    metric = metric_of(winner)
    page.tiles([("Best", winner.value, metric), ("Trials", len(trials), f"best: trial {winner.number}")])
    page.figure(
        _history(trials, metric), "Each line is a trial, measured at its rungs; the last dot is where it ended."
    )
    shares = importances(study)
    if shares:
        page.figure(
            _bars(shares), f"Importance of each parameter over {len(trials)} trials; a small study says little."
        )
    else:
        page.text("Too few complete trials to say which parameter mattered.")
    page.figure(_parallel(trials), "Parallel coordinates: one line a trial, darker is better.")
    page.heading("Best hyperparameters").table([{"name": name, "value": value} for name, value in best.items()])
    rows = [{"trial": t.number, "state": t.state.name.lower(), "value": _last(t), **t.params} for t in trials]
    page.heading("Trials").table(rows)
    page.write(path)


def metric_of(trial: Any) -> str:
    """Name of the figure that the trial was judged by."""
    return str(trial.user_attrs.get("metric", "value"))


def _last(trial: Any) -> float:
    """The trial's value, or what it had when it was pruned."""
    return float(trial.value if trial.value is not None else trial.intermediate_values[max(trial.intermediate_values)])


def _history(trials: list[Any], metric: str) -> Any:
    figure = new_figure(9.0, 3.4)
    left, right = figure.subplots(1, 2)
    for trial in trials:
        rungs, values = zip(*sorted(trial.intermediate_values.items()), strict=True)
        left.plot(rungs, values, marker="o", markersize=3, label=f"trial {trial.number}")
    left.set(title="Rungs", xlabel="evaluation", ylabel=metric)
    best, line = -math.inf, []
    for trial in trials:
        best = max(best, _last(trial))
        line.append(best)
    numbers = [trial.number for trial in trials]
    colours = ["C0" if trial.state.name == "COMPLETE" else "C5" for trial in trials]
    right.scatter(numbers, [_last(trial) for trial in trials], c=colours)
    right.plot(numbers, line, drawstyle="steps-post", color="C1")
    right.set(title="Best so far (grey: pruned)", xlabel="trial")
    return figure


def _bars(shares: dict[str, float]) -> Any:
    figure = new_figure(7.0, 2.6)
    axis = figure.subplots()
    names = sorted(shares, key=lambda name: shares[name])
    axis.barh(names, [shares[name] for name in names])
    axis.set(title="Importance", xlabel="share")
    return figure


def _parallel(trials: list[Any]) -> Any:
    figure = new_figure(9.5, 3.6)
    axis = figure.subplots()
    names = sorted({name for trial in trials for name in trial.params})
    values = [_last(trial) for trial in trials]
    low, span = min(values), (max(values) - min(values)) or 1.0
    for trial, value in sorted(zip(trials, values, strict=True), key=lambda pair: pair[1]):
        heights = [_height(name, trial, trials) for name in names]
        axis.plot(range(len(names)), heights, color="C0", alpha=0.15 + 0.85 * (value - low) / span)
    for at, name in enumerate(names):
        seen = sorted({trial.params[name] for trial in trials}, key=lambda v: (isinstance(v, str), v))
        ends = [seen[0], seen[-1]] if isinstance(seen[0], float) else seen
        for end in ends:
            height = _position(end, seen)
            axis.annotate(f"{end:.3g}" if isinstance(end, float) else str(end), (at, height), fontsize=8)
    axis.set_xticks(range(len(names)), names, rotation=20)
    axis.set_yticks([])
    return figure


def _height(name: str, trial: Any, trials: list[Any]) -> float:
    seen = sorted({t.params[name] for t in trials}, key=lambda v: (isinstance(v, str), v))
    return _position(trial.params[name], seen)


def _position(value: Any, seen: list[Any]) -> float:
    """Place of a value on its axis, 0..1: by size where it is a fraction, else by its place in the list."""
    if len(seen) == 1:
        return 0.5
    if isinstance(value, float):
        return float((value - seen[0]) / (seen[-1] - seen[0]))
    return seen.index(value) / (len(seen) - 1)
