"""Corrections that listeners sent, as cues: they replace what the reference says there, or are the only reference."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.recordings.notes import slug

Cue = Mapping[str, Any]


def corrected_cues() -> dict[str, list[dict[str, Any]]]:
    """By lecture id: cues {start, end, text, speaker ""} that listeners wrote, the latest word of each span.

    Only corrections of a span count: of a whole answer nobody knows which words belong where.
    """
    from serving.feedback import corrections, feedback_url

    url = feedback_url()
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).is_file():
        return {}
    found: dict[str, dict[tuple[float, float], dict[str, Any]]] = {}
    for row in corrections("transcription", url).dropna(subset=["start", "end", "correction"]).itertuples():
        if row.name and str(row.correction).strip() and row.end > row.start:
            cue = {"start": row.start, "end": row.end, "text": " ".join(str(row.correction).split()), "speaker": ""}
            found.setdefault(slug(str(row.name)), {})[row.start, row.end] = cue
    return {name: list(spans.values()) for name, spans in found.items()}


def merged(reference: Sequence[Cue], corrected: Sequence[Cue]) -> list[Cue]:
    """The reference without the cues whose middle a correction covers, and the corrections, in order of time."""
    kept = [
        cue
        for cue in reference
        if not any(new["start"] <= (cue["start"] + cue["end"]) / 2 <= new["end"] for new in corrected)
    ]
    return sorted([*kept, *corrected], key=lambda cue: float(cue["start"]))
