"""The typed shell of recordings."""

from typing import List  # noqa: UP035 - KFP reads this name from the signature

from kfp.dsl import HTML, Dataset, Output

from components.common.step import step


@step
def recordings(
    source: str,
    source_digest: str,
    settings: dict,  # type: ignore[type-arg]
    recordings: Output[Dataset],
    report: Output[HTML],
) -> List[str]:  # noqa: UP006
    """Read audio and video files to 16 kHz mono, measure them and cut them at pauses; a bad file is left out by name.

    Args:
        source: A file, a folder, an s3:// prefix, or "" for our own sample lectures.
        source_digest: Digest of the source's content; the step runs again when it changes.
        settings: Section `recordings` of the system's YAML (see RecordingSettings).
        recordings: Directory with <lecture>/<stage>.parquet, and quarantine.parquet with what was left out and why.
        report: HTML page with every recording and what was left out.

    Returns:
        The ids of the lectures.
    """
    from components.recordings.read import RecordingSettings
    from components.recordings.run import recordings as run

    return run(source, RecordingSettings.model_validate(settings), recordings.path, report.path)
