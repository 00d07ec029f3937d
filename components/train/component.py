"""Step "Train"."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components.common.step import step


@step
def train(
    corpus: Input[Dataset],
    examples: Input[Dataset],
    base: Input[Model],
    hyperparameters: dict,  # type: ignore[type-arg]
    settings: dict,  # type: ignore[type-arg]
    adapter: Output[Model],
    metrics: Output[Metrics],
    history: Output[HTML],
) -> None:
    """Tune the model with LoRA, as its task learns (components/tasks/<task>); a killed run resumes.

    Args:
        corpus: Parquet: passages, windows of audio, or sentences.
        examples: Parquet: questions, transcripts, or summaries; split "train" is learned from, "val" picks the best.
        base: Model directory of the base model; says the task.
        hyperparameters: Rank, alpha, dropout, learning rate, batch, accumulation, precision, target modules.
        settings: Section "train" of the system's YAML (components/train/settings.py and the task's own).
        adapter: peft directory of the best adapter, and training.json with the curves.
        metrics: The task's figures on the validation split, trained and base, and the run's sizes.
        history: Page with loss and validation curves.
    """
    from components.common.figures import log_metrics
    from components.train.run import train as run

    figures = run(corpus.path, examples.path, base.path, hyperparameters, settings, adapter.path, history.path)
    log_metrics(metrics, figures)
