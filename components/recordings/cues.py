"""Reference transcripts beside a recording: WebVTT (W3C) and SubRip."""

import html
import re
from typing import NamedTuple

from serving.errors import SluiceError

_CLOCK = r"(?:(\d{1,4}):)?([0-5]?\d):([0-5]?\d)[.,](\d{1,3})"
_TIMES = re.compile(rf"^\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?$")
_VOICE = re.compile(r"<v(?:\.[^ >]*)?\s+([^>]+)>")
_TAG = re.compile(r"<[^>]*>")


class Cue(NamedTuple):
    """A span of a recording in seconds, its text in one line without markup, and who speaks ("" when not said)."""

    start: float
    end: float
    text: str
    speaker: str


def read_cues(text: str, name: str) -> list[Cue]:
    """The cues of a .vtt or .srt text, in order of time; comments, styles, numbers and empty cues are passed over.

    Errors: `SluiceError` naming ``name`` when there is no cue at all, or one ends before it begins.
    """
    cues, lines = [], text.lstrip("\ufeff").splitlines()
    for at, line in enumerate(lines):
        match = _TIMES.match(line)
        if match is None:
            continue
        start, end = _seconds(match.groups()[:4]), _seconds(match.groups()[4:])
        if end <= start:
            raise SluiceError(f"{name}, line {at + 1}: the cue ends before it begins; correct its times")
        body: list[str] = []
        for following in lines[at + 1 :]:
            if not following.strip() or _TIMES.match(following):
                break
            body.append(following)
        said = " ".join(body)
        voice = _VOICE.search(said)
        plain = " ".join(html.unescape(_TAG.sub("", said)).split())
        if plain:
            cues.append(Cue(start, end, plain, voice[1].strip() if voice else ""))
    if not cues:
        raise SluiceError(f"{name}: no cue in it; expected WebVTT or SubRip, 00:00:01.000 --> 00:00:02.500 and a text")
    return sorted(cues)


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000
