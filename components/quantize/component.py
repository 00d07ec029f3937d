"""Step "Quantize"."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Model, Output

from components.step import step


@step
def quantize(
    model: Input[Model],
    passages: Input[Dataset],
    questions: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    variants: Output[Model],
    verdict: Output[Artifact],
    report: Output[HTML],
) -> None:
    """Export the encoder to ONNX, quantise it to INT8, measure both, and choose what is served.

    Args:
        model: Model directory (merged encoder).
        passages: Parquet; passages of split "val" are what quality is measured on, questions' sentences withheld.
        questions: Parquet; questions of split "val".
        settings: Section "quantize" of the system's YAML (components/quantize/settings.py).
        variants: Directory with tokenizer.json, encoder/*.onnx and variants.json (bytes, p50 in ms, texts/s, recall).
        verdict: JSON list with the verdict of gate "quantisation".
        report: Page with sizes, latencies and qualities.
    """
    from components.quantize.run import quantize as run

    run(model.path, passages.path, questions.path, settings, variants.path, verdict.path, report.path)
