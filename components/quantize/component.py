"""Step "Quantize"."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Model, Output

from components.common.step import step


@step
def quantize(
    model: Input[Model],
    corpus: Input[Dataset],
    examples: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    variants: Output[Model],
    verdict: Output[Artifact],
    report: Output[HTML],
) -> None:
    """Export the model to ONNX, quantise it to INT8, measure both, and choose what is served.

    Args:
        model: Model directory (base or merged); its sluice.json names the task.
        corpus: The task's corpus (parquet); what belongs to split "val" is what quality is measured on.
        examples: The task's examples (parquet) of split "val".
        settings: Section "quantize" (components/quantize/variants.py and the task's own beside it).
        variants: Directory with tokenizer.json, the ONNX variants and variants.json (bytes, p50 in ms, quality).
        verdict: JSON list with the verdict of gate "quantisation".
        report: Page with sizes, latencies and qualities.
    """
    from components.quantize.run import quantize as run

    run(model.path, corpus.path, examples.path, settings, variants.path, verdict.path, report.path)
