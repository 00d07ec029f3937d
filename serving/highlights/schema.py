"""What the highlights task takes and gives, as JSON schemas that travel in the bundle, and how an instance is read."""

import math
from collections.abc import Mapping
from typing import Any

from serving.contract.errors import SluiceError
from serving.highlights.text import Sentence, from_segments, split

MOST_SENTENCES = 5_000
LONGEST_SENTENCE = 5_000
LONGEST_TEXT = 2_000_000
MOST_BULLETS = 100

_TIMED: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "maxLength": LONGEST_SENTENCE},
        "start": {"type": ["number", "null"], "description": "seconds"},
        "end": {"type": ["number", "null"], "description": "seconds"},
    },
    "required": ["text"],
}
INPUTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "sentences": {
            "type": "array",
            "items": _TIMED,
            "minItems": 1,
            "maxItems": MOST_SENTENCES,
            "description": f"1 to {MOST_SENTENCES} objects with 'text' and perhaps 'start' and 'end' in seconds",
        },
        "text": {"type": "string", "maxLength": LONGEST_TEXT, "description": "a text, cut into sentences here"},
        "segments": {
            "type": "array",
            "items": _TIMED,
            "maxItems": MOST_SENTENCES,
            "description": "a transcript's segments, as the transcriber answers them; none of a silent recording",
        },
        "max_bullets": {
            "type": "integer",
            "minimum": 1,
            "maximum": MOST_BULLETS,
            "description": f"a whole number from 1 to {MOST_BULLETS} (default: grows with the text, 12 at most)",
        },
    },
    "anyOf": [{"required": ["sentences"]}, {"required": ["text"]}, {"required": ["segments"]}],
}
OUTPUTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "bullets": {
            "type": "array",
            "description": "in the order of the text; together at most 30 % of its words",
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "start": {"type": ["number", "null"], "description": "seconds; null without a recording"},
                    "end": {"type": ["number", "null"], "description": "seconds; null without a recording"},
                    "score": {"type": "number", "description": "share of the document's worth, 0..1"},
                    "sentence": {"type": "integer", "description": "its number in the text, from 0"},
                },
                "required": ["text", "start", "end", "score", "sentence"],
            },
        },
        "length_ratio": {"type": "number", "description": "words of the bullets over words of the text"},
        "transcript": {"type": "string", "description": "where segments were given: their text"},
        "segments": {
            "type": "array",
            "items": {"type": "object"},
            "description": "where segments were given: the same",
        },
    },
    "required": ["bullets", "length_ratio"],
}
_ECHOED = ("language", "duration")
"""What a transcriber's answer says beside its segments; it is passed on."""


def read(payload: Any) -> dict[str, Any]:
    """A checked instance: ``sentences`` (list of `Sentence`), ``max_bullets`` (int or None), ``given`` (what to echo).

    Segments win over text, sentences over both. Errors: `SluiceError` that names the field and what is expected.
    """
    if not isinstance(payload, Mapping):
        raise SluiceError("an instance must be a JSON object with 'sentences', 'segments' or 'text'")
    known = [name for name in INPUTS["properties"] if payload.get(name) not in (None, "")]
    if "segments" not in known:
        if unknown := [name for name in payload if name not in INPUTS["properties"]]:
            raise SluiceError(f"unknown field {unknown[0]!r:.60}; expected {', '.join(INPUTS['properties'])}")
        if not {"sentences", "text"} & set(known):
            raise SluiceError("nothing to summarise: give 'sentences', 'segments' or 'text'")
    most = _most(payload.get("max_bullets"))
    given: dict[str, Any] = {}
    if "sentences" in known:
        sentences = [Sentence(" ".join(t.split()), s, e) for t, s, e in _rows(payload["sentences"], "sentences")]
        if not all(sentence.text for sentence in sentences):
            raise SluiceError("'sentences' holds an empty text; leave such sentences out")
    elif "segments" in known:
        rows = _rows(payload["segments"], "segments")
        sentences = from_segments([{**g, "text": t} for g, (t, _, _) in zip(payload["segments"], rows, strict=True)])
        given = {name: payload[name] for name in ("segments", *_ECHOED) if name in payload}
        given["transcript"] = " ".join(t.strip() for t, _, _ in rows)
    else:
        sentences = split(_text(payload["text"], "'text'", LONGEST_TEXT))
    if len(sentences) > MOST_SENTENCES:
        raise SluiceError(f"the text has {len(sentences)} sentences; at most {MOST_SENTENCES} at once")
    if not sentences and "segments" not in known:
        raise SluiceError("'text' holds no words; expected at least one sentence")
    return {"sentences": sentences, "max_bullets": most, "given": given}


def _most(value: Any) -> int | None:
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        raise SluiceError(f"'max_bullets' must be a whole number from 1 to {MOST_BULLETS}")
    if not 1 <= value <= MOST_BULLETS:
        raise SluiceError(f"'max_bullets' is {value:g}; expected 1 to {MOST_BULLETS}")
    return int(value)


def _rows(value: Any, name: str) -> list[tuple[str, float | None, float | None]]:
    if not isinstance(value, list) or not (value or name == "segments"):
        raise SluiceError(f"'{name}' must be a list of objects with 'text', and not empty")
    if len(value) > MOST_SENTENCES:
        raise SluiceError(f"'{name}' has {len(value)} entries; at most {MOST_SENTENCES} at once")
    rows = []
    for at, row in enumerate(value):
        if not isinstance(row, Mapping) or "text" not in row:
            raise SluiceError(f"'{name}' {at} must be an object with 'text'")
        text = _text(row["text"], f"'{name}' {at}: 'text'", LONGEST_SENTENCE)
        rows.append((text, _time(row, "start", f"'{name}' {at}"), _time(row, "end", f"'{name}' {at}")))
    return rows


def _text(value: Any, where: str, longest: int) -> str:
    if not isinstance(value, str):
        raise SluiceError(f"{where} must be a text")
    if len(value) > longest:
        raise SluiceError(f"{where} has {len(value)} characters; at most {longest}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SluiceError(f"{where} has half a surrogate pair; send valid Unicode text") from None
    return value


def _time(row: Mapping[str, Any], name: str, where: str) -> float | None:
    value = row.get(name)
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SluiceError(f"{where}: '{name}' must be a number of seconds")
    return float(value)
