"""recordings as a function: a file, folder or bucket in; stages of every lecture, a quarantine and a page out."""

import logging
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.common.progress import track
from components.common.recordings import QUARANTINE, write_quarantine
from components.recordings.notes import FILE, Note, facts, read_notes, splits_of, unique_ids
from components.recordings.read import Left, RecordingSettings, read_recording
from components.recordings.sources import RecordingSource, open_source
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir

log = logging.getLogger(__name__)


def recordings(source: str, settings: RecordingSettings, out: str | Path, report: str | Path) -> list[str]:
    """Read every recording of ``source`` to ``out`` (a directory, whole or not at all); return the lectures' ids.

    ``source``: file, folder, s3:// prefix, or "" for our own samples. ``out``: ``<id>/{recording,windows,silences,
    reference}.parquet`` (see `components.common.recordings`) and ``quarantine.parquet``. A file that cannot be used is
    named there with the reason, and the rest go on. SluiceError: no such source, or none of its files can be used.
    """
    place = open_source(source)
    notes = read_notes(place.text(FILE), f"{place.root}/{FILE}") if FILE in place.beside else {}
    ids = unique_ids(place.recordings, notes)
    splits = splits_of(ids, notes)
    known = {file: facts(lecture, notes.get(file), splits[lecture]) for file, lecture in ids.items()}
    with atomic_dir(out) as folder:
        with ThreadPoolExecutor(settings.workers) as pool:
            found = pool.map(lambda file: read_recording(place, file, known[file], settings, folder), ids)
            done = list(track(found, len(ids), "Reading recordings"))
        rows = [row for row in done if not isinstance(row, Left)]
        left = [one for one in done if isinstance(one, Left)] + _repeats(rows, notes, folder) + _missing(place, notes)
        gone = {one.lecture for one in left}
        kept = sorted((row for row in rows if row["lecture_id"] not in gone), key=lambda row: row["lecture_id"])
        if not kept:
            why = "; ".join(f"{one.file}: {one.reason}" for one in left[:5])
            raise SluiceError(f"source {source}: none of {len(ids)} files can be used ({why})")
        write_quarantine(folder / QUARANTINE, [one._asdict() for one in left])
    _write_report(kept, left, report)
    for one in left:
        log.warning("left out %s: %s", one.file, one.reason)
    log.info("%d recordings, %.1f minutes", len(kept), sum(row["duration_s"] for row in kept) / 60)
    return [str(row["lecture_id"]) for row in kept]


def _repeats(rows: Sequence[dict[str, Any]], notes: Mapping[str, Note], folder: Path) -> list[Left]:
    """Files with the very same bytes as another: read twice they would stand in training and in tests.

    The one stays of which most is known.
    """
    first: dict[str, str] = {}
    out = []

    def unknown(row: Mapping[str, Any]) -> tuple[bool, bool]:
        return row["file"] not in notes, not (folder / row["lecture_id"] / "reference.parquet").is_file()

    for row in sorted(rows, key=unknown):
        if first.setdefault(row["sha256"], row["file"]) != row["file"]:
            shutil.rmtree(folder / row["lecture_id"])
            out.append(Left(row["lecture_id"], row["file"], f"the same file as {first[row['sha256']]}"))
    return out


def _missing(place: RecordingSource, notes: dict[str, Note]) -> list[Left]:
    """Entries of samples.yaml without a file, transcripts without a recording; not of a single file's neighbours."""
    if place.single:
        return []
    gone = [file for file in notes if file not in place.recordings]
    alone = "a transcript of no recording here; name it as its recording is named, talk.vtt for talk.mp3"
    return [
        *(Left("", file, f"{FILE} names it, but there is no such file") for file in gone),
        *(Left("", file, alone) for file in place.unclaimed()),
    ]


def _write_report(rows: Sequence[dict[str, Any]], left: Sequence[Left], target: str | Path) -> None:
    """Write the page (self-contained HTML) to ``target``; ``rows`` are those of stage "recording"."""
    from components.common.page import Page, new_figure

    page = Page("Recordings", "What was read, how it sounds, and what was left out.")
    minutes = sum(row["duration_s"] for row in rows) / 60
    page.tiles(
        [
            ("Recordings", len(rows), f"{sum(bool(row['video']) for row in rows)} with a picture"),
            ("Minutes", round(minutes, 1), f"longest {max(row['duration_s'] for row in rows) / 60:.1f}"),
            ("Left out", len(left), "named below"),
        ]
    )
    page.table([_line(row) for row in rows], "Recordings")
    figure = new_figure()
    axes = figure.subplots()
    axes.scatter([row["loudness"] for row in rows], [row["silence_share"] for row in rows])
    axes.set(xlabel="loudness (dBFS)", ylabel="share of silence", ylim=(0, 1))
    page.figure(figure, "How loud each recording is, and how much of it is silent")
    page.heading("Left out")
    page.table([one._asdict() for one in left], f"{len(left)} recordings were left out")
    page.write(target)


def _line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "lecture": row["lecture_id"], "title": row["title"], "seconds": row["duration_s"], "split": row["split"],
        "condition": row["condition"], "speaker": row["speaker"], "codec": row["codec"], "Hz": row["sample_rate"],
        "channels": row["channels"], "loudness": row["loudness"], "silence": row["silence_share"], "note": row["note"],
    }  # fmt: skip
