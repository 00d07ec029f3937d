"""Steps "Create study", "Search" (fanned out) and "Best trial"."""

from typing import List  # noqa: UP035  # KFP reads typing.List

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.common.step import step


@step
def create_study(
    corpus: Input[Dataset],
    examples: Input[Dataset],
    base: Input[Model],
    settings: dict,  # type: ignore[type-arg]
    study: Output[Artifact],
) -> None:
    """Create the shared study, or find it: its name is a digest of everything that decides it.

    Args:
        corpus: Parquet: passages, windows of audio, or sentences.
        examples: Parquet: questions, transcripts, or summaries.
        base: Model directory of the base model; says the task.
        settings: Section "tune" of the system's YAML (components/tune/settings.py).
        study: The study's name, in a file: kfp.local hands a loop's item to every parameter that comes from a task.
    """
    from components.tune.study import create
    from serving.contract.files import atomic_file

    name = create(corpus.path, examples.path, base.path, settings)
    with atomic_file(study.path) as scratch:
        scratch.write_text(name)


@step
def search(
    study: Input[Artifact],
    worker: int,
    corpus: Input[Dataset],
    examples: Input[Dataset],
    base: Input[Model],
    settings: dict,  # type: ignore[type-arg]
) -> int:
    """One worker of the study: short training runs until all workers together have finished enough.

    Args:
        study: Name from "Create study"; the storage is named by SLUICE_STUDY.
        worker: Number of this worker; seeds its sampler.
        corpus: Parquet: passages, windows of audio, or sentences.
        examples: Parquet: questions, transcripts, or summaries.
        base: Model directory of the base model; says the task.
        settings: Section "tune" of the system's YAML (components/tune/settings.py).
    """
    from pathlib import Path

    from components.tune.search import search as run

    name = Path(study.path).read_text()
    return run(name, worker, corpus.path, examples.path, base.path, settings)


@step
def best_trial(
    study: Input[Artifact],
    done: List[int],  # noqa: UP006
    settings: dict,  # type: ignore[type-arg]
    history: Output[HTML],
    metrics: Output[Metrics],
) -> dict:  # type: ignore[type-arg]
    """Close the study: hyperparameters of its best trial, its page, and its runs in MLflow.

    Args:
        study: Name from "Create study".
        done: What each worker returned; waits for all of them.
        settings: Section "tune" of the system's YAML (components/tune/settings.py).
        history: Page with the trials' rungs, importances and parallel coordinates.
        metrics: Best figure of the short runs, trials complete, pruned and failed.
    """
    from pathlib import Path

    from components.common.figures import log_metrics
    from components.tune.best import best_trial as run

    best, figures = run(Path(study.path).read_text(), settings, history.path)
    log_metrics(metrics, figures)
    return best
