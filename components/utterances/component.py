"""The typed shell of utterances."""

from kfp.dsl import Dataset, Input, Output

from components.common.step import step


@step
def utterances(
    recordings: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    corpus: Output[Dataset],
    examples: Output[Dataset],
) -> None:
    """Cut recordings that have a reference transcript into utterances, for training and measuring a transcriber.

    Args:
        recordings: What recordings wrote; references stand in its stage "reference".
        settings: Section `utterances` of the system's YAML (see UtteranceSettings).
        corpus: Parquet, one row an utterance: its place in a recording and its samples (int16, mono, 16 kHz).
        examples: Parquet, one row an utterance: text, speaker, condition, split, seconds.
    """
    from components.utterances.run import UtteranceSettings
    from components.utterances.run import utterances as run

    run(recordings.path, UtteranceSettings.model_validate(settings), corpus.path, examples.path)
