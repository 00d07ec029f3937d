"""Instances against the JSON schema that a bundle carries."""

from collections.abc import Mapping
from typing import Any

from serving.contract.errors import SluiceError


class Reader:
    """Checks instances against an input schema and fills in its defaults."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

        self._validator = Draft202012Validator(schema)
        self._fields: Mapping[str, Mapping[str, Any]] = schema["properties"]
        self._defaults = {name: field["default"] for name, field in self._fields.items() if "default" in field}
        self._optional = set(self._fields) - set(schema.get("required", ()))

    def read(self, payload: Any) -> dict[str, Any]:
        """A checked copy with every default filled in; an optional field that is null or "" counts as left out.

        Errors: `SluiceError` naming the field and what is expected.
        """
        if isinstance(payload, dict):
            payload = {k: v for k, v in payload.items() if k not in self._optional or (v is not None and v != "")}
        error = next(self._validator.iter_errors(payload), None)
        if error is not None:
            raise SluiceError(self._explain(payload, error))
        for name, value in payload.items():
            if any(not _is_text(text) for text in (value if isinstance(value, list) else [value])):
                raise SluiceError(f"{name!r} has half a surrogate pair; send valid Unicode text")
        result = {**self._defaults, **payload}
        whole = {name for name in result if self._fields.get(name, {}).get("type") == "integer"}
        return {name: int(value) if name in whole else value for name, value in result.items()}

    def _explain(self, payload: Any, error: Any) -> str:
        expected = "; ".join(f"{name!r}: {field.get('description', '')}" for name, field in self._fields.items())
        if not isinstance(payload, dict):
            return f"an instance must be a JSON object, not {_show(payload)}; expected {expected}"
        if error.path:
            name = str(error.path[0])
            return f"{name!r} is {_show(payload[name])}; expected {self._fields[name].get('description', '')}"
        unknown = sorted(set(payload) - set(self._fields))
        if unknown:
            return f"unknown field {_show(unknown[0])}; known are {', '.join(map(repr, self._fields))}"
        missing = [name for name in self._fields if name not in payload and name not in self._defaults]
        return f"field {missing[0]!r} is missing; expected {expected}" if missing else str(error.message)[:200]


def _is_text(value: Any) -> bool:
    try:
        str(value).encode()
    except UnicodeEncodeError:  # JSON may escape what no text can hold, such as "\\ud800" alone
        return False
    return True


def _show(value: Any) -> str:
    if isinstance(value, str) and len(value) > 60:
        return f"a text of {len(value)} characters"
    shown = repr(value)
    return f"{shown[:60]}…" if len(shown) > 60 else shown
