"""The step that feeds the feature store and reads the training frame back from it."""

from kfp.dsl import Dataset, Input, Output

from components.common.step import step


@step
def featurize(
    corpus: Input[Dataset],
    examples: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    frame: Output[Dataset],
    snapshot: Output[Dataset],
) -> None:
    """Feed the feature store; read features as each example may know them and as they are now.

    Args:
        corpus: The task's corpus (parquet), as validation left it.
        examples: The task's examples (parquet), as validation left them.
        settings: Section `featurize` of the system's YAML, with `task`, the kind of model whose entities they are.
        frame: Parquet, entities at points in time: their features as known then.
        snapshot: Parquet, one row an entity: features read back from the online store.
    """
    from components.featurize.run import run

    run(corpus.path, examples.path, settings, frame.path, snapshot.path)
