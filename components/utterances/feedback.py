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
    spans = corrections("transcription", url).dropna(subset=["start", "end", "correction"]).to_dict("records")
    for row in spans:
        text, start, end = " ".join(str(row["correction"]).split()), float(row["start"]), float(row["end"])
        if row["name"] and text and end > start:
            cue = {"start": start, "end": end, "text": text, "speaker": ""}
            found.setdefault(slug(str(row["name"])), {})[start, end] = cue
    return {name: list(spans.values()) for name, spans in found.items()}


def merged(reference: Sequence[Cue], corrected: Sequence[Cue]) -> list[Cue]:
    """The reference without the cues whose middle a correction covers, and the corrections, in order of time."""
    kept = [
        cue
        for cue in reference
        if not any(new["start"] <= (cue["start"] + cue["end"]) / 2 <= new["end"] for new in corrected)
    ]
    return sorted([*kept, *corrected], key=lambda cue: float(cue["start"]))
