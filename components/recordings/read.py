"""One recording: any audio or video file in; its stages on disk out, or the reason why it is left out."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from components.common.recordings import version_of, write_stage
from components.common.records import mended
from components.common.step import Settings
from components.recordings.cues import read_transcript
from components.recordings.measure import Tally
from components.recordings.sources import RecordingSource
from serving.contract.errors import SluiceError
from serving.media import Media, Recording, Stretch, cut, length

_HOLDS = {
    ".wav": "wav", ".mp3": "mp3", ".m4a": "m4a", ".mp4": "mp4", ".mov": "mov", ".ogg": "ogg", ".oga": "ogg",
    ".opus": "ogg", ".flac": "flac", ".mkv": "matroska", ".webm": "webm", ".aac": "aac",
}  # fmt: skip
"""What a file's name promises of its container."""
MIN_S = 0.5


class RecordingSettings(Settings):
    """Settings of recordings.

    ``window_s``: most seconds of a window. ``max_s``: a longer recording is quarantined. ``workers``: files that are
    read at once.
    """

    window_s: float = Field(30.0, ge=1, le=30)
    max_s: float = Field(43_200, gt=0)
    workers: int = Field(2, ge=1, le=64)


class Left(NamedTuple):
    """A recording that is left out, and why."""

    lecture: str
    file: str
    reason: str


def read_recording(
    source: RecordingSource, file: str, about: Mapping[str, Any], settings: RecordingSettings, out: Path
) -> dict[str, Any] | Left:
    """Decode ``file`` once, in bounded memory, and write ``out/<lecture_id>/{recording,windows,silences}.parquet``.

    Also ``reference.parquet`` where a transcript lies beside it. ``about``: what is known already (`notes.facts`).
    Returns the row of stage "recording", or why the file is left out: broken, empty, silent, too short or long, no
    recording at all. A name that promises another container than the file holds is only noted: what counts is what can
    be heard.
    """
    lecture_id = str(about["lecture_id"])
    try:
        with source.local(file) as path:
            return _read(source, file, path, about, settings, out)
    except (SluiceError, OSError, ValueError) as error:
        shutil.rmtree(out / lecture_id, ignore_errors=True)
        return Left(lecture_id, mended(file), mended(str(error).removeprefix(f"{PurePosixPath(file).name}: ")))


def _read(
    source: RecordingSource, file: str, path: Path, about: Mapping[str, Any], settings: RecordingSettings, out: Path
) -> dict[str, Any]:
    lecture_id = str(about["lecture_id"])
    with path.open("rb") as stream:
        sha = hashlib.file_digest(stream, "sha256").hexdigest()
    version = version_of(sha, settings.model_dump_json(exclude={"workers"}))
    claimed = length(path, settings.max_s)
    if claimed > settings.max_s:
        limit = settings.max_s / 3600
        raise SluiceError(f"too long: {claimed / 3600:.1f} h, at most {limit:g} h are read (setting max_s)")
    with Recording(path) as recording:
        tally, counter = Tally(), _Counter()
        heard = cut(tally.listen(_bounded(recording, settings.max_s)), settings.window_s)
        write_stage(out, lecture_id, "windows", counter.rows(heard), version)
        media, damaged, odd = recording.media, recording.damaged, recording.notes
    if tally.seconds < MIN_S:
        raise SluiceError(f"too short: {tally.seconds:.2f} s of sound, at least {MIN_S:g} s are needed")
    if not counter.count:
        raise SluiceError(f"silent: nothing can be heard in its {tally.seconds:.0f} s ({tally.loudness:.0f} dBFS)")
    write_stage(out, lecture_id, "silences", tally.silences(), version)
    notes = [_promise(file, media), "a part of it could not be decoded" if damaged else ""]
    notes += odd
    notes.append(_reference(source, file, lecture_id, version, out))
    row = {
        **about, "file": mended(file), "sha256": sha, "codec": media.codec, "duration_s": tally.seconds,
        "sample_rate": media.sample_rate, "channels": media.channels, "loudness": tally.loudness,
        "silence_share": tally.silence_share, "video": media.video, "changed_at": source.changed_at(file),
        "note": "; ".join(text for text in notes if text),
    }  # fmt: skip
    write_stage(out, lecture_id, "recording", [row], version)
    return row


def _bounded(recording: Recording, most: float) -> Iterator[Any]:
    seconds = 0.0
    for block in recording.blocks():
        seconds += len(block) / 16_000
        if seconds > most:
            raise SluiceError(f"too long: over {most / 3600:g} h (setting max_s)")
        yield block


class _Counter:
    count = 0

    def rows(self, stretches: Iterator[Stretch]) -> Iterator[Mapping[str, Any]]:
        """Rows of stage "windows"."""
        for stretch in stretches:
            samples = np.round(np.clip(stretch.samples, -1, 1) * 32_767).astype("<i2")
            yield {"window": self.count, "start": stretch.start, "end": stretch.end, "samples": samples.tobytes()}
            self.count += 1


def _promise(file: str, media: Media) -> str:
    suffix = PurePosixPath(file).suffix.lower()
    wrong = suffix in _HOLDS and _HOLDS[suffix] not in media.container.split(",")
    return f"named {suffix}, holds {media.container.split(',')[0]}" if wrong else ""


def _reference(source: RecordingSource, file: str, lecture_id: str, version: str, out: Path) -> str:
    """Write the reference transcript if there is one; return what is wrong with it or was passed over, or ""."""
    beside = source.reference(file)
    if not beside:
        return ""
    try:
        text = source.text(beside)
        cues, passed_over = read_transcript(text, beside)
    except SluiceError as error:
        return f"its reference was not read: {error}"
    write_stage(out, lecture_id, "reference", (cue._asdict() for cue in cues), version_of(version, text))
    return f"{passed_over} cues of {beside} do not last and are passed over" if passed_over else ""
