r"""Conditions of a graph's steps: does a path exist in a JSON document? The part of GJSON's syntax that graphs use.

Keys and array indexes with dots between them (``\.`` for a dot in a key), ``#`` for every element, ``#(key op value)``
for the first element that fits and ``#(…)#`` for all that do; op is one of == != < <= > >= % !%, where % is a pattern
with ``*`` and ``?``. Modifiers, pipes, wildcards in keys and multipaths are refused. Source: SYNTAX.md of
github.com/tidwall/gjson, which KServe's router asks.
"""

import json
import re
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from serving.contract.errors import SluiceError

_QUERY = re.compile(r"^(?P<key>.*?)\s*(?P<op>==|!=|<=|>=|!%|<|>|%)\s*(?P<value>.*)$", re.DOTALL)
_ABSENT = object()


class Part(NamedTuple):
    """One step of a path: kind is key, each (#), first (#(…)) or all (#(…)#)."""

    kind: str
    text: str = ""


def exists(document: Any, condition: str) -> bool:
    """Is there anything at the path ``condition`` of ``document`` (parsed JSON)? Errors: SluiceError, as `parse`."""
    return _walk(document, parse(condition)) is not _ABSENT


def parse(condition: str) -> list[Part]:
    """Cut a path into its parts. SluiceError for an empty path, or for syntax that is not understood here."""
    parts: list[Part] = []
    at = 0
    while at <= len(condition):
        if condition[at : at + 2] == "#(":
            end = _closing(condition, at + 1)
            after = condition[end + 1 : end + 2]
            parts.append(Part("all" if after == "#" else "first", condition[at + 2 : end]))
            at = end + 1 + (after == "#")
            if condition[at : at + 1] not in ("", "."):
                raise SluiceError(f"condition {condition!r}: expected a dot or the end after ')'")
        else:
            match = re.compile(r"(?:\\.|[^.\\])*").match(condition, at)
            word = match[0] if match else ""
            if not word or word[0] in "@!{[" or re.search(r"(?<!\\)[|*?]", word):
                raise SluiceError(
                    f"condition {condition!r}: {word!r} is not understood here; use keys, indexes, # and #(key==value)"
                )
            parts.append(Part("each") if word == "#" else Part("key", re.sub(r"\\(.)", r"\1", word)))
            at += len(word)
        at += 1
    return parts


def _closing(text: str, start: int) -> int:
    """Index of the parenthesis that closes the one at ``start``; quoted strings are skipped."""
    depth, quoted, at = 0, False, start
    while at < len(text):
        letter = text[at]
        if letter == "\\":
            at += 1
        elif letter == '"':
            quoted = not quoted
        elif not quoted:
            depth += {"(": 1, ")": -1}.get(letter, 0)
            if not depth:
                return at
        at += 1
    raise SluiceError(f"condition {text!r}: a parenthesis is not closed")


def _walk(value: Any, parts: list[Part]) -> Any:
    for number, part in enumerate(parts):
        if part.kind == "key":
            value = _child(value, part.text)
        elif not isinstance(value, list):
            return _ABSENT
        elif part.kind == "each":
            rest = parts[number + 1 :]
            return [found for v in value if (found := _walk(v, rest)) is not _ABSENT] if rest else len(value)
        elif part.kind == "first":
            value = next((v for v in value if _fits(v, part.text)), _ABSENT)
        else:
            fitting = [v for v in value if _fits(v, part.text)]
            rest = parts[number + 1 :]
            return [found for v in fitting if (found := _walk(v, rest)) is not _ABSENT] if rest else fitting
        if value is _ABSENT:
            return _ABSENT
    return value


def _child(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name, _ABSENT)
    if isinstance(value, list) and name.isdigit():
        return value[int(name)] if int(name) < len(value) else _ABSENT
    return _ABSENT


def _fits(element: Any, query: str) -> bool:
    match = _QUERY.match(query.strip()) if not query.strip().startswith("#(") else None
    if match is None:
        return _walk(element, parse(query.strip())) is not _ABSENT
    found = element if not match["key"] else _walk(element, parse(match["key"]))
    return found is not _ABSENT and _compare(found, match["op"], match["value"].strip())


def _compare(found: Any, op: str, literal: str) -> bool:
    try:
        wanted = json.loads(literal)
    except ValueError:
        wanted = literal
    if op in ("%", "!%"):
        return fnmatchcase(str(found), str(wanted)) == (op == "%")
    if op in ("==", "!="):
        return (type(found) is bool) == (type(wanted) is bool) and (found == wanted) == (op == "==")
    numbers = isinstance(found, int | float) and isinstance(wanted, int | float)
    if not numbers and not (isinstance(found, str) and isinstance(wanted, str)):
        return False
    less, same = found < wanted, found == wanted
    return {"<": less, "<=": less or same, ">": not less and not same, ">=": not less}[op]
