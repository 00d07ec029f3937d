"""Reference transcripts beside a recording: WebVTT (W3C) and SubRip, as strangers' tools write them."""

import html
import re
from collections.abc import Sequence
from typing import NamedTuple

from serving.contract.errors import SluiceError
from serving.core.scripts import join
from serving.transcription.formats import ENTITY, GUARD, TAG, repeated, unguarded

_CLOCK = r"(?:(\d{1,6}):)?(\d{1,3}):(\d{1,2})(?:\s?[.,]\s?(\d{1,9}))?"
_TIMES = re.compile(rf"^\s*{_CLOCK}\s*-->\s*{_CLOCK}(?![\d:.,]).*$")
_NO_TIMES = re.compile(r"^\s*-?\d{1,6}:\S*(?:\s\S+)?\s*-->")
"""A line that is meant as a cue's times; no text begins like this."""
_VOICE = re.compile(r"<v(?:\.[^\s<>]*)?\s+([^<>]+)>", re.IGNORECASE)
_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_ASS, _ASS_BREAK = re.compile(r"\{\\[^{}]*\}"), re.compile(r"\\[Nnh]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_NOT_SAID = ("NOTE", "STYLE", "REGION")
_ROLLS_WITHIN = 0.5
"""Seconds between two cues of which one may show the other's words again."""


class Cue(NamedTuple):
    """A span of a recording in seconds, its text in one line without markup, and who speaks ("" when not said)."""

    start: float
    end: float
    text: str
    speaker: str


class Transcript(NamedTuple):
    """The cues in order of time, and how many were passed over: no length, backwards, or times nobody can read."""

    cues: list[Cue]
    passed_over: int


class _Raw(NamedTuple):
    """A cue before captions that roll are told from others: its lines without markup."""

    start: float
    end: float
    lines: list[str]
    speaker: str


def read_cues(text: str, name: str) -> list[Cue]:
    """The cues of `read_transcript`."""
    return read_transcript(text, name).cues


def read_transcript(text: str, name: str) -> Transcript:
    """A .vtt or .srt text; comments, styles, numbers and empty cues are passed over.

    Captions that roll (YouTube's automatic ones, live ones) show each line twice or more: each word is taken once.
    Errors: `SluiceError` naming ``name`` when there is no cue at all that lasts.
    """
    lines = _LINE_END.split(text.lstrip("\ufeff"))
    timings = [(at, _TIMES.match(line)) for at, line in enumerate(lines) if _TIMES.match(line) or _NO_TIMES.match(line)]
    web = lines[0].startswith("WEBVTT") or name.lower().endswith(".vtt")
    numbered = bool(timings) and _number_before(lines[: timings[0][0]])
    raw, passed_over = [], 0
    for (at, match), end_at in zip(timings, [*(at for at, _ in timings[1:]), len(lines)], strict=False):
        start, end = (_seconds(match.groups()[:4]), _seconds(match.groups()[4:])) if match else (0.0, 0.0)
        if end <= start:
            passed_over += 1
            continue
        last = end_at == len(lines)
        body = _without_number(lines[at + 1 : end_at], numbered, last)
        said = "\n".join(_block(body, last) if web else body)
        voice = _VOICE.search(said)
        plain = [line for line in _plain(said, web).split("\n") if line.strip()]
        if plain:
            raw.append(_Raw(start, end, plain, " ".join(html.unescape(voice[1]).split()) if voice else ""))
    if not raw:
        why = f"none of its {passed_over} cues lasts" if passed_over else "no cue in it"
        raise SluiceError(f"{name}: {why}; expected WebVTT or SubRip, 00:00:01.000 --> 00:00:02.500 and a text")
    return Transcript(_once(sorted(raw, key=lambda cue: cue.start)), passed_over)


def _seconds(parts: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction) / 10 ** len(fraction)


def _number_before(lines: Sequence[str]) -> bool:
    """Whether the last of the lines that says anything is a number: so cues are numbered in this file."""
    return next((line.strip().isdecimal() for line in reversed(lines) if line.strip()), False)


def _without_number(body: Sequence[str], numbered: bool, last: bool) -> list[str]:
    """A cue's lines without the next cue's number; after the last cue only one that stands alone."""
    kept = list(body)
    while kept and not kept[-1].strip():
        kept.pop()
    if numbered and _number_before(kept) and (not last or (len(kept) > 2 and not kept[-2].strip())):
        return [*kept[:-1], *body[len(kept) :]]
    return list(body)


def _block(body: Sequence[str], last: bool) -> list[str]:
    """A WebVTT cue's own lines: to the first empty one. Some tools leave one before the text, too."""
    blocks: list[list[str]] = [[]]
    for line in body:
        if line:
            blocks[-1].append(line)
        else:
            blocks.append([])
    follows = [block for block in blocks[1:] if block]
    name_of_next = follows[-1:] if blocks[-1] and not last else []
    if blocks[0] or not follows or follows[0] in name_of_next or follows[0][0].startswith(_NOT_SAID):
        return blocks[0]
    return follows[0]


def _plain(said: str, web: bool) -> str:
    """Lines without markup, entities decoded; a guard that our own writer set stays."""
    if _ASS.search(said):
        said = _ASS_BREAK.sub("\n", said)
    bare = TAG.sub("", _BREAK.sub("\n", said))
    return html.unescape(bare) if web else ENTITY.sub(lambda found: html.unescape(found[0]), bare)


def _once(raw: Sequence[_Raw]) -> list[Cue]:
    """Cues whose words were not shown by the one before, if the file rolls: where half of its cues or more do so."""
    new = [(raw[0], raw[0].lines, False, False)]
    for before, cue in zip(raw, raw[1:], strict=False):
        shown, lines = ([" ".join(line.split()) for line in one.lines] for one in (before, cue))
        near = cue.start - before.end <= _ROLLS_WITHIN and not lines[0].startswith(GUARD)
        whole, signs = repeated(shown, lines) if near else (0, 0)
        rest = lines[whole:]
        grows = signs > 0 and rest[0][:signs] == shown[-1]
        rest = [rest[0][signs:].strip(), *rest[1:]] if signs else rest
        if rest:
            new.append((cue, rest, (whole, signs) != (0, 0), grows))
    if sum(again for _, _, again, _ in new) < max(1, (len(new) - 1) / 2):
        return [Cue(cue.start, cue.end, _text(cue.lines), cue.speaker) for cue in raw]
    out: list[Cue] = []
    for cue, rest, _, grows in new:
        if grows and out:  # a line that grows is one cue
            out[-1] = out[-1]._replace(end=max(out[-1].end, cue.end), text=join((out[-1].text, _text(rest))))
        else:
            out.append(Cue(cue.start, cue.end, _text(rest), cue.speaker))
    return out


def _text(lines: Sequence[str]) -> str:
    """A cue's lines in one; a blank at a line's end counts, where its script would else have none."""
    return unguarded(" ".join(join(lines).split()))
