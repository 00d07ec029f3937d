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
    """Feed the feature store; read features as of each question's day and as they are now.

    Args:
        corpus: Passages (parquet), as validation left them.
        examples: Questions (parquet); only asked_at is read.
        settings: Section `featurize` of the system's YAML.
        frame: Parquet, one row a day of questions and passage: features as known then.
        snapshot: Parquet, one row a passage: features read back from the online store.
    """
    from components.featurize.run import FeaturizeSettings, run

    run(corpus.path, examples.path, FeaturizeSettings(**settings), frame.path, snapshot.path)
