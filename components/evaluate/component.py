"""The step "Evaluate"."""

from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components.common.step import step


@step
def evaluate(
    bundle: Input[Model],
    corpus: Input[Dataset],
    examples: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    predictions: Output[Dataset],
    metrics: Output[Metrics],
    report: Output[HTML],
    asked: Output[Dataset],
) -> None:
    """How well does the bundle that would be served answer the frozen test set?

    Args:
        bundle: Directory of the bundle, loaded as serving loads it; its task says what is measured, and how.
        corpus: Validated corpus (retrieval: passages; transcription: audio; highlights: sentences).
        examples: Validated examples with the split test (questions; utterances; summaries).
        settings: Section "evaluate" (components/evaluate/evaluated.py and the task's own beside it).
        predictions: What was answered to every example, and how well (parquet).
        metrics: Figures named with their protocol.
        report: Page with scores, slices and what goes wrong.
        asked: Requests with their labels for load tests and the canary (JSON lines).
    """
    from pathlib import Path

    from components.common.figures import log_metrics
    from components.evaluate.evaluate import evaluate_files

    inputs = Path(bundle.path), Path(corpus.path), Path(examples.path)
    outputs = Path(predictions.path), Path(report.path), Path(asked.path)
    log_metrics(metrics, evaluate_files(*inputs, settings, *outputs))
