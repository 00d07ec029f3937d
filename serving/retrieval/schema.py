"""What the retrieval task takes and gives, as JSON schemas that travel in the bundle."""

from typing import Any

INPUTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "question": {
            "type": "string",
            "minLength": 1,
            "maxLength": 2000,
            "pattern": r"\S",
            "description": "text of 1 to 2000 characters that is not blank",
        },
        "top_k": {
            "type": "integer",
            "minimum": 1,
            "maximum": 20,
            "default": 5,
            "description": "a whole number of sources from 1 to 20",
        },
        "path": {
            "type": "string",
            "maxLength": 1000,
            "default": "",
            "description": "the one file or lecture to search, as sources name it; empty: all",
        },
    },
    "required": ["question"],
    "additionalProperties": False,
}

_SOURCE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "passage_id": {"type": "string"},
        "path": {"type": "string", "description": "relative to the source's root"},
        "name": {"type": "string", "description": "qualified symbol, heading, commit or issue number"},
        "lines": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "commit": {"type": "string", "description": "of code: the commit that its file is of"},
        "url": {"type": "string"},
        "score": {"type": "number", "description": "the ranker's share for this passage among the candidates, 0..1"},
        "text": {"type": "string"},
        "start": {"type": "number", "description": "of a recording: seconds from its beginning"},
        "end": {"type": "number", "description": "of a recording: seconds from its beginning"},
    },
    "required": ["passage_id", "path", "name", "lines", "url", "score", "text"],
}

OUTPUTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "answer": {"type": "string", "description": "sentences of the sources; empty when abstained"},
        "confidence": {"type": "number", "description": "probability that the first source is the right one, 0..1"},
        "abstained": {"type": "boolean"},
        "sources": {"type": "array", "items": _SOURCE, "description": "best first"},
    },
    "required": ["answer", "confidence", "abstained", "sources"],
}
