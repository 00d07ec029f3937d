"""JSON merge patch (RFC 7386) and JSON patch (RFC 6902), the two that an API server takes for custom objects."""

import copy
from typing import Any

from serving.contract.errors import SluiceError


def merge_patch(target: Any, patch: Any) -> Any:
    """Return ``target`` with ``patch`` merged in: objects merge, null removes a key, anything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(target: Any, operations: Any) -> Any:
    """Return ``target`` after the operations (add, remove, replace, move, copy, test), all or none of them.

    Raises SluiceError when an operation is malformed, its path does not exist, or a test fails.
    """
    if not isinstance(operations, list):
        raise SluiceError("a JSON patch is a list of operations, each with 'op' and 'path'")
    document = copy.deepcopy(target)
    for operation in operations:
        if not isinstance(operation, dict) or "op" not in operation or "path" not in operation:
            raise SluiceError(f"not a JSON patch operation: {operation!r}; each needs 'op' and 'path'")
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: dict[str, Any]) -> Any:
    op, path = operation["op"], operation["path"]
    if op in ("add", "replace", "test") and "value" not in operation:
        raise SluiceError(f"JSON patch: {op} {path} has no 'value'")
    if op == "add":
        return _add(document, path, copy.deepcopy(operation["value"]))
    if op == "remove":
        return _remove(document, path)
    if op == "replace":
        _get(document, path)
        return _add(_remove(document, path), path, copy.deepcopy(operation["value"])) if path else operation["value"]
    if op == "test":
        if _get(document, path) != operation["value"]:
            raise SluiceError(f"JSON patch: test of {path} failed")
        return document
    if op in ("move", "copy"):
        value = copy.deepcopy(_get(document, operation.get("from", "")))
        return _add(_remove(document, operation["from"]) if op == "move" else document, path, value)
    raise SluiceError(f"JSON patch: unknown op {op!r}")


def _keys(path: str) -> list[str]:
    if path and not path.startswith("/"):
        raise SluiceError(f"JSON patch: path {path!r} must start with '/'")
    return [key.replace("~1", "/").replace("~0", "~") for key in path.split("/")[1:]]


def _step(node: Any, key: str, path: str) -> Any:
    try:
        return node[int(key)] if isinstance(node, list) else node[key]
    except (KeyError, IndexError, ValueError, TypeError):
        raise SluiceError(f"JSON patch: {path} does not exist") from None


def _get(document: Any, path: str) -> Any:
    for key in _keys(path):
        document = _step(document, key, path)
    return document


def _parent(document: Any, path: str) -> tuple[Any, str]:
    *above, last = _keys(path)
    for key in above:
        document = _step(document, key, path)
    if not isinstance(document, dict | list):
        raise SluiceError(f"JSON patch: {path} does not exist")
    return document, last


def _add(document: Any, path: str, value: Any) -> Any:
    if not path:
        return value
    parent, last = _parent(document, path)
    if isinstance(parent, dict):
        parent[last] = value
    elif last == "-":
        parent.append(value)
    elif last.isdigit() and int(last) <= len(parent):
        parent.insert(int(last), value)
    else:
        raise SluiceError(f"JSON patch: {path} does not exist")
    return document


def _remove(document: Any, path: str) -> Any:
    _get(document, path)
    if not path:
        return None
    parent, last = _parent(document, path)
    del parent[int(last) if isinstance(parent, list) else last]
    return document
