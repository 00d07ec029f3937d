"""The typed shell of segment."""

from typing import List  # noqa: UP035 - KFP reads this name from the signature

from kfp.dsl import HTML, Dataset, Input, Output

from components.common.step import step


@step
def segment(
    transcripts: Input[List[Dataset]],  # noqa: UP006
    recordings: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    passages: Output[Dataset],
    sentences: Output[Dataset],
    summaries: Output[Dataset],
    report: Output[HTML],
) -> None:
    """Clean the transcripts of all lectures and cut them to segments at topic boundaries, times kept.

    Args:
        transcripts: What transcribe wrote, one directory a lecture, collected.
        recordings: What recordings wrote.
        settings: Section `segment` of the system's YAML (see SegmentSettings).
        passages: Parquet, one row a segment, as the retriever wants its passages, with start_s and end_s.
        sentences: Parquet, one row a sentence of a lecture, with its times (the corpus of task highlights).
        summaries: Parquet, one row a lecture whose reference bullets are known (the examples of task highlights).
        report: HTML page with the lectures, their segments, and what was left out.
    """
    from components.segment.passages import SegmentSettings
    from components.segment.run import SegmentOutputs
    from components.segment.run import segment as run

    out = SegmentOutputs(passages.path, sentences.path, summaries.path, report.path)
    run([one.path for one in transcripts], recordings.path, SegmentSettings.model_validate(settings), out)
