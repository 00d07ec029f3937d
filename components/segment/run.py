"""segment as a function: transcripts of many lectures in; passages, sentences, reference bullets and a page out."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from components.common.recordings import QUARANTINE, lectures, read_quarantine, read_stage
from components.segment.passages import Lecture, SegmentSettings, every_split, passage_rows, table
from components.segment.sentences import sentences
from components.segment.words import words_of
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)


class SegmentOutputs(NamedTuple):
    """Where segment writes: three tables (parquet) and a page (HTML)."""

    passages: str | Path
    sentences: str | Path
    summaries: str | Path
    report: str | Path


def segment(
    transcripts: Sequence[str | Path], recordings: str | Path, settings: SegmentSettings, out: SegmentOutputs
) -> "pd.DataFrame":
    """Write the segments of all transcribed lectures as passages, their sentences, and the bullets that are known.

    In: one directory a lecture as transcribe wrote it, and the recordings' directory. A lecture whose transcription
    failed or found no speech is left out and named in the report. passages: columns of `components.segment.passages`;
    sentences: document_id, position int32, text, start, end (seconds), document split; summaries: document_id, bullets
    list<str>, split, source "transcript", condition. Out: the passages. SluiceError: no lecture has a sentence.
    """
    from components.segment.report import write_report

    quarantined = [read_quarantine(Path(recordings) / QUARANTINE)]
    transcribed: dict[str, Lecture] = {}
    for folder in map(Path, transcripts):
        quarantined.append(read_quarantine(folder / QUARANTINE))
        for lecture_id in lectures(folder, "transcript"):
            transcribed[lecture_id] = _lecture(folder, Path(recordings), lecture_id)
    spoken = [transcribed[name] for name in sorted(transcribed) if transcribed[name].sentences]
    if not spoken:
        raise SluiceError(
            f"{recordings}: no lecture has a transcribed sentence "
            f"({len(transcribed)} transcribed); look at the transcripts"
        )
    passages = every_split(table(row for lecture in spoken for row in passage_rows(lecture, settings)))
    frames = (passages, _sentence_table(spoken), _bullet_table(spoken))
    for frame, target in zip(frames, out[:3], strict=True):
        with atomic_file(target) as scratch:
            frame.to_parquet(scratch, index=False, coerce_timestamps="us")
    silent = [name for name in sorted(transcribed) if not transcribed[name].sentences]
    write_report(spoken, passages, quarantined, silent, out.report)
    log.info("%d segments, %d sentences of %d lectures", len(passages), len(frames[1]), len(spoken))
    return passages


def _lecture(folder: Path, recordings: Path, lecture_id: str) -> Lecture:
    about = read_stage(recordings, lecture_id, "recording").to_pylist()[0]
    silences = [(row["start"], row["end"]) for row in read_stage(recordings, lecture_id, "silences").to_pylist()]
    words = words_of(read_stage(folder, lecture_id, "transcript").to_pylist())
    return Lecture(about, sentences(words), silences)


def _sentence_table(spoken: Sequence[Lecture]) -> "pd.DataFrame":
    import pandas as pd

    rows = [
        (lecture.id, position, said.text, said.start, said.end)
        for lecture in spoken
        for position, said in enumerate(lecture.sentences)
    ]
    frame = pd.DataFrame(rows, columns=["document_id", "position", "text", "start", "end"])
    return frame.astype({"position": "int32", "start": "float64", "end": "float64"})


def _bullet_table(spoken: Sequence[Lecture]) -> "pd.DataFrame":
    import pandas as pd

    rows = [
        (lecture.id, list(lecture.about["bullets"]), lecture.about["split"], "transcript", lecture.about["condition"])
        for lecture in spoken
        if len(lecture.about["bullets"])
    ]
    return pd.DataFrame(rows, columns=["document_id", "bullets", "split", "source", "condition"])
