"""The step "Evaluate"."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components.step import step


@step
def evaluate(
    bundle: Input[Model],
    passages: Input[Dataset],
    questions: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    predictions: Output[Dataset],
    metrics: Output[Metrics],
    report: Output[HTML],
) -> None:
    """How well does the bundle that would be served answer the frozen test set and the persona set?

    Args:
        bundle: Directory of the bundle, loaded as serving loads it.
        passages: Validated passages.
        questions: Validated questions with the splits test and persona.
        settings: Section "evaluate" (components/evaluate/settings.py).
        predictions: Rank, confidence and first passages of every question and retriever (parquet).
        metrics: Recall@1/5/10, MRR, nDCG@10 on full ranking, calibration error, Brier score, abstention.
        report: Page with scores, slices, reliability, failure modes and examples.
    """
    from pathlib import Path

    from components.evaluate.evaluate import evaluate_files
    from components.report.figures import log_metrics

    inputs = Path(bundle.path), Path(passages.path), Path(questions.path)
    log_metrics(metrics, evaluate_files(*inputs, settings, Path(predictions.path), Path(report.path)))
