"""The step that packs everything a revision needs into one directory."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.step import step


@step
def pack(
    variants: Input[Model],
    passages: Input[Dataset],
    questions: Input[Dataset],
    frame: Input[Dataset],
    snapshot: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    bundle: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Build the bundle: the quantised encoder with its index, sentences, ranker and confidence.

    Args:
        variants: Directory that quantize wrote: encoder variants, tokenizer, variants.json.
        passages: Passages (parquet), as validation left them; all are indexed, with their full text.
        questions: Questions (parquet); those of split val fit the ranker and the confidence.
        frame: Features of every passage as of each day of asking (parquet, from featurize).
        snapshot: Features of every passage now (parquet); what serving uses without a feature server.
        settings: Section `pack` of the system's YAML.
        bundle: The directory that `serving.load` opens.
        metrics: Figures of the half of the val questions that the ranker never saw, protocol withheld.
    """
    from pathlib import Path

    from components.pack.run import pack as run
    from components.pack.settings import PackSettings
    from components.report.figures import log_metrics

    figures = run(
        Path(variants.path),
        Path(passages.path),
        Path(questions.path),
        Path(frame.path),
        Path(snapshot.path),
        PackSettings(**settings),
        Path(bundle.path),
    )
    log_metrics(metrics, figures)
