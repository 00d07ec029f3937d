"""utterances as a function: recordings with references in; audio and reference texts out."""

import logging
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.common.recordings import Sound, lectures, read_stage
from components.common.step import Settings
from components.recordings.read import RecordingSettings
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from serving.feedback.reviews import Correction

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
PADDING_S = 0.15
"""Sound that is kept before and after a cue, as far as the neighbouring cues leave room."""
MIN_S = 0.2


class UtteranceSettings(Settings):
    """Settings of utterances.

    ``window_s``: what the model hears at once; a longer cue is skipped and counted.
    ``feedback``: take in what listeners corrected and a reviewer accepted. ``samples``: a split that has no
    utterance at all takes those of our own sample lectures, for training, choosing and judging need some each.
    """

    window_s: float = Field(30.0, gt=0, le=30)
    feedback: bool = True
    samples: bool = True


class _Tables:
    """The two tables while they are written; ``splits`` counts what was written."""

    def __init__(self, audio: "pq.ParquetWriter", text: "pq.ParquetWriter") -> None:
        self._writers, self.splits = (audio, text), Counter[str]()

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """Write the utterances of one recording."""
        import pyarrow as pa

        held = list(rows)
        self.splits.update(row["split"] for row in held)
        for writer in self._writers:
            names = writer.schema.names
            writer.write_table(pa.Table.from_pylist([{n: row[n] for n in names} for row in held], writer.schema))


def utterances(recordings: str | Path, settings: UtteranceSettings, corpus: str | Path, examples: str | Path) -> int:
    """Write every cue of every reference as an utterance; return how many.

    corpus: utterance_id, recording_id, start, end (seconds, padding included), samples (int16 little-endian mono
    16 kHz). examples: utterance_id, recording_id, text, speaker (of the recording's notes, else of the cue's voice
    tag), condition, split (of the recording, so never in two), seconds float32. Cues longer than the model's window or
    shorter than `MIN_S` are skipped and counted in the log. In recordings of split train, corrections that a
    reviewer has accepted are cues too. A split without any utterance is filled with our own samples. SluiceError: no
    recording has a reference, and samples are not wanted.
    """
    import pyarrow.parquet as pq

    folder, skipped = Path(recordings), Counter[str]()
    audio, text = _schemas()
    corrected = accepted_corrections() if settings.feedback else {}
    with (
        atomic_file(corpus) as sounds,
        atomic_file(examples) as texts,
        pq.ParquetWriter(sounds, audio, compression="zstd", coerce_timestamps="us") as sound_writer,
        pq.ParquetWriter(texts, text, coerce_timestamps="us") as text_writer,
    ):
        tables = _Tables(sound_writer, text_writer)
        for lecture_id in lectures(folder, "recording"):
            tables.add(_cut(folder, lecture_id, settings, corrected, skipped))
        empty = [split for split in SPLITS if not tables.splits[split]]
        if empty and settings.samples:
            _fill(tables, empty, settings, skipped)
        elif not tables.splits.total():
            raise SluiceError(
                f"{recordings}: no recording has a reference transcript, which training and measuring need; put a .vtt "
                "or .srt file of the same name beside each recording, or let our own samples stand in (samples: true)"
            )
    why = ", ".join(f"{number} {reason}" for reason, number in sorted(skipped.items())) or "none"
    log.info("%d utterances %s; skipped: %s", tables.splits.total(), dict(tables.splits), why)
    return tables.splits.total()


def _fill(tables: _Tables, splits: Sequence[str], settings: UtteranceSettings, skipped: Counter[str]) -> None:
    """Add the utterances of our own samples that lie in ``splits``, under ids that no recording of a user has."""
    from components.recordings.run import recordings as read

    log.warning("no reference transcript in split %s: our own sample lectures stand in", ", ".join(splits))
    with tempfile.TemporaryDirectory(prefix="sluice-") as scratch:
        folder = Path(scratch) / "recordings"
        for lecture_id in read("", RecordingSettings(), folder, Path(scratch) / "report.html"):
            rows = [row for row in _cut(folder, lecture_id, settings, {}, skipped) if row["split"] in splits]
            own = ("utterance_id", "recording_id")
            tables.add({**row, **{name: f"sample.{row[name]}" for name in own}} for row in rows)


def _schemas() -> "tuple[pa.Schema, pa.Schema]":
    import pyarrow as pa

    ids = [("utterance_id", pa.string()), ("recording_id", pa.string())]
    audio = [*ids, ("start", pa.float64()), ("end", pa.float64()), ("samples", pa.binary())]
    text = [*((name, pa.string()) for name in ("text", "speaker", "condition", "split")), ("seconds", pa.float32())]
    return pa.schema(audio), pa.schema([*ids, *text])


def _cut(
    folder: Path,
    lecture_id: str,
    settings: UtteranceSettings,
    corrected: "Mapping[str, list[Correction]]",
    skipped: Counter[str],
) -> Iterator[dict[str, Any]]:
    about = read_stage(folder, lecture_id, "recording").to_pylist()[0]
    known = (folder / lecture_id / "reference.parquet").is_file()
    cues: Sequence[Cue] = read_stage(folder, lecture_id, "reference").to_pylist() if known else []
    if about["split"] == "train":  # what people correct must not change the frozen test set
        cues = merged(cues, corrected.get(about["sha256"], []), skipped)
    if not cues:
        return
    sound = Sound(folder, lecture_id)
    for number, cue in enumerate(cues):
        before = cues[number - 1]["end"] if number else 0.0
        after = cues[number + 1]["start"] if number + 1 < len(cues) else sound.duration_s
        # Padding never reaches into a neighbour's words (half of the pause belongs to each), nor beyond the window.
        length = min(cue["end"], sound.duration_s) - cue["start"]
        padding = max(0.0, min(PADDING_S, (settings.window_s - length) / 2))
        start = max(0.0, cue["start"] - min(padding, max(0.0, (cue["start"] - before) / 2)))
        end = min(sound.duration_s, cue["end"] + min(padding, max(0.0, (after - cue["end"]) / 2)))
        if length < MIN_S:
            skipped["too short, or after the recording's end"] += 1
        elif length > settings.window_s:
            skipped[f"longer than the model's {settings.window_s:g} s"] += 1
        else:
            samples = sound.cut(start, end)
            yield {
                "utterance_id": f"{lecture_id}-{number:04}", "recording_id": lecture_id, "start": start, "end": end,
                "samples": samples.tobytes(), "text": cue["text"], "speaker": about["speaker"] or cue["speaker"],
                "condition": about["condition"], "split": about["split"], "seconds": len(samples) / sound.rate,
            }  # fmt: skip


Cue = Mapping[str, Any]


def accepted_corrections() -> "dict[str, list[Correction]]":
    """By SHA-256 of a recording's file: what a person has accepted there by name; nothing without a database."""
    from serving.feedback.reviews import accepted
    from serving.feedback.tables import feedback_file, feedback_url

    file = feedback_file(url := feedback_url())
    return accepted(url) if file is None or file.is_file() else {}


def merged(reference: Sequence[Cue], corrected: "Sequence[Correction]", left_out: Counter[str]) -> list[Cue]:
    """The reference and the corrections, in order of time.

    A correction stands where the reference says nothing. Only one whose reviewer said so takes the place of the cues
    whose middle it covers; the others are counted in ``left_out``.
    """
    new: list[Cue] = []
    kept = list(reference)
    for one in corrected:
        if one.over_reference:
            kept = [cue for cue in kept if not one.start <= (cue["start"] + cue["end"]) / 2 <= one.end]
        elif any(cue["start"] < one.end and one.start < cue["end"] for cue in reference):
            left_out["correction where a reference speaks (accept it with --over-reference)"] += 1
            continue
        new.append({"start": one.start, "end": one.end, "text": " ".join(one.correction.split()), "speaker": ""})
    return sorted([*kept, *new], key=lambda cue: float(cue["start"]))
