"""A transcript as text, SubRip, WebVTT or JSON."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from serving.contract.errors import SluiceError
from serving.core.scripts import join, unspaced, width

FORMATS = ("text", "srt", "vtt", "json", "verbose_json")
GUARD = "\u2060"
"""WORD JOINER, which nobody sees: SubRip knows no escape for a text that looks like markup."""
TAG = re.compile(
    r"<(?:\d+:)?\d+:\d+(?:[.,]\d+)?>|</?(?:(?:v|lang)(?:\.[^\s<>]*)?(?:\s[^<>]*)?|(?:i|b|u|s|c|em|strong|br|ruby|rt|rp|font"
    r"|span|p|div|tt|small|big|sup|sub|center)(?:\.[^\s<>]*)?(?:\s+[\w:-]+\s*=[^<>]*|\s*))/?>|\{\\[^{}]*\}|\{/?[biu]\}",
    re.IGNORECASE,
)
"""Markup of cues as it occurs: WebVTT's, HTML's in SubRip, and ASS overrides; no other < is any."""
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_LINE = 42
_SHORT = 1000
_SHOWN = 50
"""Lines or words that captions which roll repeat at most: screens are small, and strangers' files may be endless."""
_MARKUP = re.compile(
    rf"[<{{](?={GUARD})|(?:(?={TAG.pattern})[<{{])|&(?={GUARD})|(?={ENTITY.pattern})&|--(?={GUARD}*>)", re.I
)
_BRACES = re.compile(rf"[<{{&](?={GUARD})|(?={TAG.pattern})\{{|--(?={GUARD}+>)", re.IGNORECASE)
_GUARDED = re.compile(rf"([<{{&]|--(?={GUARD}+>)){GUARD}")
_OPENING = frozenset("「『（【《〈〔｛“‘เแโใไ")
_CLOSING = frozenset("。．，、！？：；・ー々」』）】》〉〕｝”’ぁぃぅぇぉっゃゅょァィゥェォッャュョๆฯะาำ\u200b")


def write(result: Mapping[str, Any], kind: str) -> str:
    """A transcriber's result as one of `FORMATS`. Errors: `SluiceError` for another.

    ``srt``: SubRip; ``vtt``: WebVTT (W3C, 2019), one cue a segment, lines of at most 42 columns (a Han sign, kana or
    Hangul takes two); `components.recordings.cues` reads back every text. ``json``: the result as it is;
    ``verbose_json``: see `verbose`.
    """
    if kind == "text":
        return "\n".join(segment["text"].strip() for segment in result["segments"]) + "\n"
    if kind == "srt":
        return "".join(f"{at}\n{cue}" for at, cue in enumerate(_cues(result["segments"], ","), 1))
    if kind == "vtt":
        return "WEBVTT\n\n" + "".join(_cues(result["segments"], "."))
    if kind in ("json", "verbose_json"):
        data = dict(result) if kind == "json" else verbose(result, words=True)
        return json.dumps(data, ensure_ascii=False, indent=1) + "\n"
    raise SluiceError(f"{kind!r}: no format of a transcript; expected one of {', '.join(FORMATS)}")


def verbose(result: Mapping[str, Any], words: bool) -> dict[str, Any]:
    """The fields of OpenAI's ``verbose_json``; words in a list of their own where they are asked for.

    https://platform.openai.com/docs/api-reference/audio/verbose-json-object
    """
    segments = [
        {
            "id": segment["id"],
            "seek": 100 * int(segment["start"]),
            "start": segment["start"],
            "end": segment["end"],
            "text": segment["text"],
            "tokens": segment.get("tokens", []),
            "temperature": segment.get("temperature", 0.0),
            "avg_logprob": segment.get("avg_logprob", 0.0),
            "compression_ratio": segment.get("compression_ratio", 0.0),
            "no_speech_prob": segment["no_speech"],
        }
        for segment in result["segments"]
    ]
    found = {"task": "transcribe", "language": result["language"], "duration": result["duration"]}
    found |= {"text": result["text"], "segments": segments}
    if words:
        listed = [word for segment in result["segments"] for word in segment["words"]]
        found["words"] = [{name: word[name] for name in ("word", "start", "end")} for word in listed]
    return found


def stamp(seconds: float, mark: str) -> str:
    """``hh:mm:ss.mmm``, with ``mark`` before the milliseconds."""
    whole = max(0, round(seconds * 1000))
    return f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{mark}{whole % 1000:03}"


def repeated(shown: Sequence[str], lines: Sequence[str]) -> tuple[int, int]:
    """What captions that roll show again: how many of the ``lines`` the last cue has shown, whole, and how many
    characters of the next one, where that goes on with the last line ``shown`` or its last words. (0, 0): nothing.
    """
    for count in range(min(len(shown), len(lines), _SHOWN), 0, -1):
        first, last = shown[-count:], lines[count - 1]
        if list(first[:-1]) != list(lines[: count - 1]) or not first[-1]:
            continue
        if last == first[-1]:
            return count, 0
        rest = last.removeprefix(first[-1])
        if rest != last and join((first[-1], rest.lstrip())) == last:
            return count - 1, len(first[-1])
    said, again = " ".join(shown).split(), lines[0].split()
    for count in range(min(len(said), len(again), _SHOWN), 1, -1):
        if said[-count:] == again[:count]:
            return (1, 0) if count == len(again) else (0, len(" ".join(again[:count])))
    return 0, 0


def _cues(segments: Sequence[Mapping[str, Any]], mark: str) -> list[str]:
    """Segments as cues, times and lines; those without a word are left out. Every cue lasts, or no player shows it."""
    said = [(segment, clean) for segment in segments if (clean := _clean(str(segment["text"])))]
    cues, shown = [], [""]
    for at, (segment, text) in enumerate(said):
        begin, end = (max(0, round(1000 * segment[name])) for name in ("start", "end"))
        if end <= begin:
            following = round(1000 * said[at + 1][0]["start"]) if at + 1 < len(said) else begin + _SHORT
            end = max(begin + 1, min(begin + _SHORT, following))
        lines = _lines(_guarded(text, _MARKUP if mark == "," else _BRACES))
        before, shown = shown, [line.rstrip() for line in lines]
        if lines[0].startswith(GUARD) or repeated(before, shown) != (0, 0):
            lines[0] = shown[0] = GUARD + lines[0]
        body = "\n".join(lines)
        if mark == ".":
            body = body.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"{stamp(begin / 1000, mark)} --> {stamp(end / 1000, mark)}\n{body}\n\n")
    return cues


def _clean(text: str) -> str:
    """A text in one line without control signs and halves of surrogate pairs."""
    return " ".join("".join(c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs")).split())


def _guarded(text: str, markup: re.Pattern[str]) -> str:
    return markup.sub(lambda found: found[0] + GUARD, text)


def unguarded(text: str) -> str:
    """A cue's text without the signs that `write` put in to keep it from being read as markup or as a repetition."""
    return _GUARDED.sub(r"\1", text.removeprefix(GUARD))


def _lines(text: str) -> list[str]:
    """Lines of at most 42 columns, broken at blanks, and between signs of scripts that have none.

    A wide sign (Han, kana, Hangul) takes two columns. One long word of a script with blanks stays whole.
    A blank between two signs of a script without stays at the line's end, where a reader sees it.
    """
    lines = [""]
    for number, word in enumerate(text.split(" ")):
        for place, atom in enumerate(_atoms(word)):
            gap = " " if number and not place else ""
            room = _LINE - unspaced(atom[-1])  # for the blank that may have to stay
            if not lines[-1] or width(lines[-1]) + len(gap) + width(atom) <= room:
                lines[-1] += gap + atom
            else:
                lines[-1] += " " if gap and unspaced(lines[-1][-1]) and unspaced(atom[0]) else ""
                lines.append(atom)
    return lines


def _atoms(word: str) -> list[str]:
    """What no line may break: no line begins with a closing or small sign, none ends with an opening one."""
    atoms = [word[:1]]
    for before, sign in zip(word, word[1:], strict=False):
        free = before not in _OPENING and sign not in _CLOSING and not unicodedata.category(sign).startswith("M")
        if unspaced(before) and unspaced(sign) and (free or width(atoms[-1]) >= _LINE - 2):
            atoms.append(sign)
        else:
            atoms[-1] += sign
    return atoms
