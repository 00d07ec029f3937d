"""The step that packs everything a revision needs into one directory."""

from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.common.step import step


@step
def pack(
    variants: Input[Model],
    corpus: Input[Dataset],
    examples: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    bundle: Output[Model],
    metrics: Output[Metrics],
    frame: Input[Dataset] = None,
    snapshot: Input[Dataset] = None,
) -> None:
    """Build the bundle: the quantised model with everything its predictor needs (retrieval: index, ranker, confidence).

    Args:
        variants: Directory that quantize wrote: variants, tokenizer, variants.json, which names the task.
        corpus: The task's corpus (parquet), as validation left it; a retriever indexes all of it.
        examples: The task's examples (parquet); those of split val fit what is fitted here.
        settings: Section `pack` of the system's YAML (components/pack/packing.py and the task's own beside it).
        bundle: The directory that `serving.contract.load` opens.
        metrics: Figures of the val examples that nothing was fitted on.
        frame: Features of every row as of each day of asking (parquet, from featurize), where the system has them.
        snapshot: Features of every row now (parquet); what serving uses without a feature server.
    """
    from pathlib import Path

    from components.common.figures import log_metrics
    from components.pack.run import pack as run

    tables = Path(corpus.path), Path(examples.path)
    features = (Path(given.path) if given else None for given in (frame, snapshot))
    log_metrics(metrics, run(Path(variants.path), *tables, settings, Path(bundle.path), *features))
