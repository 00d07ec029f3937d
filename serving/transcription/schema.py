"""What the transcription task takes and gives, as JSON schemas that travel in the bundle."""

from typing import Any

INPUTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "audio": {
            "type": "string",
            "contentEncoding": "base64",
            "minLength": 1,
            "description": "a recording (wav, mp3, m4a, ogg, flac, mp4, mkv, webm, ...) as base64",
        },
        "language": {
            "type": "string",
            "pattern": "^[a-z]{2,3}$",
            "description": "the language spoken, as a code such as en; detected if left out",
        },
        "prompt": {
            "type": "string",
            "maxLength": 2000,
            "default": "",
            "description": "text of at most 2000 characters in the style, and with the names, to expect",
        },
        "vocabulary": {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "maxLength": 60},
            "maxItems": 100,
            "default": [],
            "description": "at most 100 words or names that are likely to occur, each of at most 60 characters",
        },
        "word_timestamps": {
            "type": "boolean",
            "default": True,
            "description": "true or false: whether segments list their words with times",
        },
    },
    "required": ["audio"],
    "additionalProperties": False,
}

_SECONDS = {"type": "number", "description": "seconds from the recording's start"}
_SHARE = {"type": "number", "description": "0..1, exp of the mean log-probability of the tokens"}
_WORD: dict[str, Any] = {
    "type": "object",
    "properties": {"word": {"type": "string"}, "start": _SECONDS, "end": _SECONDS, "confidence": _SHARE},
    "required": ["word", "start", "end", "confidence"],
}
_SEGMENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "id": {"type": "integer"},
        "start": _SECONDS,
        "end": _SECONDS,
        "text": {"type": "string"},
        "confidence": _SHARE,
        "no_speech": {"type": "number", "description": "probability 0..1 that nothing was said"},
        "words": {"type": "array", "items": _WORD, "description": "empty where they were not asked for"},
    },
    "required": ["id", "start", "end", "text", "confidence", "no_speech", "words"],
}

OUTPUTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "language": {"type": "string", "description": "code, as given or detected"},
        "duration": {"type": "number", "description": "seconds of sound in the recording"},
        "damaged": {"type": "boolean", "description": "whether a part of the recording could not be read"},
        "notes": {
            "type": "array",
            "items": {"type": "string"},
            "description": "what was odd: other audio tracks, long gaps, channels that cancel, changes on the way",
        },
        "segments": {"type": "array", "items": _SEGMENT},
    },
    "required": ["text", "language", "duration", "damaged", "segments"],
}
