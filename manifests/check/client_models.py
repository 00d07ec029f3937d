"""KServe objects against the models of the kserve client: every field must be one that the client has, of its type."""

import re
from typing import Any

from manifests.check.build import Object

_PLAIN: dict[str, Any] = {"str": str, "int": int, "bool": bool, "float": (int, float)}


def model_errors(found: Object) -> list[str]:
    """Fields that the client's model of this kind lacks, and values of another type, as "path: what"."""
    import kserve

    version = str(found["apiVersion"]).rpartition("/")[2].capitalize()
    model = getattr(kserve, f"{version}{found['kind']}", None)
    if model is None:
        return [f"kind: the kserve client has no {version}{found['kind']}"]
    return list(_walk(found, model.__name__, ""))


def _model(name: str) -> Any:
    from kserve import models  # has models that kserve itself does not pass on
    from kubernetes import client

    return getattr(models, name, None) or getattr(client, name, None)


def _walk(value: Any, kind: str, path: str) -> Any:
    if inner := re.fullmatch(r"list\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{path}: expected a list, found {type(value).__name__}"
            return
        for number, item in enumerate(value):
            yield from _walk(item, inner[1], f"{path}.{number}")
    elif inner := re.fullmatch(r"dict\((\w+), (.+)\)", kind):
        if not isinstance(value, dict):
            yield f"{path}: expected an object, found {type(value).__name__}"
            return
        for key, item in value.items():
            yield from _walk(item, inner[2], f"{path}.{key}")
    elif kind in _PLAIN:
        if not isinstance(value, _PLAIN[kind]) or isinstance(value, bool) and kind != "bool":
            yield f"{path}: expected {kind}, found {value!r}"
    elif (model := _model(kind)) is not None and hasattr(model, "attribute_map"):
        yield from _fields(value, model, path)


def _fields(value: Any, model: Any, path: str) -> Any:
    if not isinstance(value, dict):
        # Quantities and the like are strings or numbers with a class of their own.
        if model.attribute_map:
            yield f"{path}: expected an object, found {type(value).__name__}"
        return
    names = {theirs: ours for ours, theirs in model.attribute_map.items()}
    for key, item in value.items():
        if key not in names:
            yield f"{path.lstrip('.') or 'top level'}: the kserve client's {model.__name__} has no field {key!r}"
        else:
            yield from _walk(item, model.openapi_types[names[key]], f"{path}.{key}")
