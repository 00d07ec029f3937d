"""Corrections that a reviewer has accepted, as cues of the recording whose bytes they were made on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.feedback.reviews import Correction

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
