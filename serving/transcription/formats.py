"""A transcript as text, SubRip, WebVTT or JSON."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from serving.errors import SluiceError

FORMATS = ("text", "srt", "vtt", "json", "verbose_json")
_LINE = 42


def write(result: Mapping[str, Any], kind: str) -> str:
    """A transcriber's result as one of `FORMATS`. Errors: `SluiceError` for another.

    ``srt``: SubRip; ``vtt``: WebVTT (W3C, 2019), one cue a segment, lines of at most 42 characters; ``json``: the
    result as it is; ``verbose_json``: see `verbose`.
    """
    if kind == "text":
        return "\n".join(segment["text"].strip() for segment in result["segments"]) + "\n"
    if kind == "srt":
        return "".join(f"{at}\n{_cue(segment, ',')}\n\n" for at, segment in enumerate(result["segments"], 1))
    if kind == "vtt":
        return "WEBVTT\n\n" + "".join(f"{_cue(segment, '.')}\n\n" for segment in result["segments"])
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


def _cue(segment: Mapping[str, Any], mark: str) -> str:
    text = "\n".join(_lines(segment["text"].split()))
    if mark == ".":
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    else:
        text = text.replace("-->", "->")
    return f"{stamp(segment['start'], mark)} --> {stamp(segment['end'], mark)}\n{text}"


def _lines(words: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= _LINE:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
