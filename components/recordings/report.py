"""The page of recordings: what was read, how it sounds, and what was left out and why."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from components.recordings.read import Left


def write_report(rows: Sequence[dict[str, Any]], left: Sequence["Left"], target: str | Path) -> None:
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
