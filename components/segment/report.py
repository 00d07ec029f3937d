"""The page of segment: lectures with their figures, their segments, and what was left out."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from components.segment.passages import Lecture

_SHOWN = 40


def write_report(
    spoken: Sequence["Lecture"],
    passages: "pd.DataFrame",
    quarantined: Sequence[Sequence[dict[str, str]]],
    silent: Sequence[str],
    target: str | Path,
) -> None:
    """Write the page (self-contained HTML) to ``target``; ``silent`` lectures were transcribed to nothing."""
    from components.common.page import Page

    page = Page("Lectures in segments", "What was said, cut at topic boundaries, with its times.")
    words = sum(said.words for lecture in spoken for said in lecture.sentences)
    page.tiles(
        [
            ("Lectures", len(spoken), f"{words:,} words"),
            ("Segments", len(passages), f"{passages['n_tokens'].mean():.0f} wordpieces on average"),
            ("Sentences", sum(len(lecture.sentences) for lecture in spoken), ""),
        ]
    )
    page.table(_lectures(passages), "Lectures")
    shown = passages.head(_SHOWN)[["path", "start_s", "end_s", "speech_rate", "silence_share", "confidence", "doc"]]
    rows = [{str(name): value for name, value in row.items()} for row in shown.to_dict("records")]
    page.table(rows, f"The first {len(shown)} of {len(passages)} segments")
    left = [row for rows in quarantined for row in rows]
    left += [{"lecture": name, "file": "", "reason": "transcribed, but nobody speaks in it"} for name in silent]
    page.heading("Left out")
    page.table(left, "No recording was left out." if not left else f"{len(left)} recordings were left out")
    page.write(target)


def _lectures(passages: "pd.DataFrame") -> list[dict[str, object]]:
    grouped = passages.groupby("path", sort=True)
    return [
        {
            "lecture": path, "title": rows["name"].iloc[0], "seconds": rows["lecture_duration_s"].iloc[0],
            "segments": len(rows), "words a minute": rows["speech_rate"].mean(),
            "silence": rows["lecture_silence_share"].iloc[0], "confidence": rows["confidence"].mean(),
        }
        for path, rows in grouped
    ]  # fmt: skip
