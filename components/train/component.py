"""Step "Train"."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components.step import step


@step
def train(
    passages: Input[Dataset],
    questions: Input[Dataset],
    base: Input[Model],
    hyperparameters: dict,  # type: ignore[type-arg]
    settings: dict,  # type: ignore[type-arg]
    adapter: Output[Model],
    metrics: Output[Metrics],
    history: Output[HTML],
) -> None:
    """Tune the encoder with LoRA: in-batch and mined hard negatives; a killed run resumes.

    Args:
        passages: Parquet, one row a passage; those of split "train" are learned from, "val" picks the best adapter.
        questions: Parquet, one row a question, with gold passage ids; their own sentences are withheld from passages.
        base: Model directory of the base encoder.
        hyperparameters: Rank, alpha, dropout, learning rate, batch, accumulation, precision, target modules.
        settings: Section "train" of the system's YAML (components/train/settings.py).
        adapter: peft directory of the best adapter, and training.json with the curves.
        metrics: MRR and recall@1 on the validation split (0..1), trained and base, and the run's sizes.
        history: Page with loss and validation curves.
    """
    from components.report.figures import log_metrics
    from components.train.run import train as run

    figures = run(passages.path, questions.path, base.path, hyperparameters, settings, adapter.path, history.path)
    log_metrics(metrics, figures)
