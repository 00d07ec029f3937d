"""The typed shell of transcribe."""

from kfp.dsl import Artifact, Dataset, Input, Model, Output

from components.common.step import step


@step
def transcribe(
    recordings: Input[Dataset],
    lecture: str,
    bundle: Input[Model],
    fallback: Input[Model],
    verdict: Input[Artifact],
    settings: dict,  # type: ignore[type-arg]
    transcript: Output[Dataset],
) -> None:
    """Transcribe one lecture with the model that the gates let pass; a lecture that fails is left out by name.

    Args:
        recordings: What recordings wrote.
        lecture: Id of the lecture.
        bundle: The challenger's bundle of task transcription.
        fallback: The bundle to use unless every verdict passed.
        verdict: JSON, the challenger's verdicts.
        settings: Section `transcribe` of the system's YAML (see TranscribeSettings).
        transcript: Directory with <lecture>/transcript.parquet and the same as .srt, .vtt, .json and .txt, or
            quarantine.parquet with the reason.
    """
    from components.transcribe.run import TranscribeSettings
    from components.transcribe.run import transcribe as run
    from serving.contract.verdict import read_verdicts

    passed = all(one.passed for one in read_verdicts(verdict.path))
    chosen = bundle.path if passed else fallback.path
    run(recordings.path, lecture, chosen, TranscribeSettings.model_validate(settings), transcript.path)
