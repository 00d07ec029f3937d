"""Between the tensors of the Open Inference Protocol (v2) and the instances that a predictor answers.

An input tensor is one field of the instances: its name is the field's, its first dimension counts the instances. A
request parameter is a field that all instances share. Each output tensor is one field of the results.
"""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from serving.refusals import invalid

_OF_SCHEMA = {"string": "BYTES", "number": "FP32", "integer": "INT64", "boolean": "BOOL"}
_OF_PYTHON = ((bool, "BOOL"), (int, "INT64"), (float, "FP32"))
_OWN_PARAMETERS = {"binary_data_output", "binary_data_size", "id"}


def describe(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Tensor metadata of a JSON schema's fields, as `/v2/models/{name}` answers: name, datatype, shape [-1]."""
    fields = schema.get("properties", {})
    return [
        {"name": name, "datatype": _OF_SCHEMA.get(str(field.get("type")), "BYTES"), "shape": [-1]}
        for name, field in fields.items()
    ]


def instances_of(request: Any, schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Instances of a `kserve.InferRequest`, not yet checked field by field.

    Errors: 400 if a tensor is unknown, of the wrong type, ragged, or holds less than its shape says.
    """
    fields = schema.get("properties", {})
    columns: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        if tensor.name not in fields:
            raise invalid(f"unknown input tensor {tensor.name!r}; expected {', '.join(fields)}")
        columns[tensor.name] = _column(tensor, fields[tensor.name])
    if not columns:
        raise invalid(f"no input tensors; expected {', '.join(schema.get('required', fields))}")
    sizes = {len(column) for column in columns.values()}
    if len(sizes) > 1:
        raise invalid(
            f"input tensors differ in length ({', '.join(map(str, sorted(sizes)))}); one entry for each instance"
        )
    shared = {name: value for name, value in _plain(request.parameters).items() if name in fields}
    return [shared | dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def outputs_of(results: Sequence[dict[str, Any]]) -> list[tuple[str, str, list[Any]]]:
    """Output tensors of results: (name, datatype, values); lists and objects become JSON in BYTES."""
    names = list(results[0]) if results else []
    return [_output(name, [result[name] for result in results]) for name in names]


def _output(name: str, values: list[Any]) -> tuple[str, str, list[Any]]:
    if all(isinstance(value, str) for value in values):
        return name, "BYTES", values
    for kind, datatype in _OF_PYTHON:
        if all(isinstance(value, kind) for value in values):
            return name, datatype, values
    return name, "BYTES", [orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode() for value in values]


def _column(tensor: Any, field: dict[str, Any]) -> list[Any]:
    expected = _OF_SCHEMA.get(str(field.get("type", "string")), "BYTES")
    got = str(tensor.datatype)
    same = got == expected or {got[:3], expected[:3]} <= {"INT", "UIN"} or {got[:2], expected[:2]} == {"FP"}
    if not same:
        raise invalid(f"input tensor {tensor.name!r} has datatype {got[:20]}; expected {expected}")
    shape = list(tensor.shape)
    if not shape or any(not isinstance(n, int) or n < 0 for n in shape) or shape[1:] not in ([], [1]):
        raise invalid(f"input tensor {tensor.name!r} has shape {str(shape)[:60]}; expected [n] or [n, 1]")
    values = _values(tensor)
    if len(values) != shape[0]:
        raise invalid(f"input tensor {tensor.name!r} has shape {shape} but holds {len(values)} values")
    if field.get("contentEncoding") == "base64":
        return [_base64(value) for value in values]
    return [_text(value, tensor.name) for value in values] if expected == "BYTES" else values


def _values(tensor: Any) -> list[Any]:
    try:
        # KServe keeps raw bytes aside; only its own decoding reads them.
        data = (
            tensor.as_numpy() if tensor.data is None or getattr(tensor, "_raw_data", None) is not None else tensor.data
        )
    except Exception as error:
        raise invalid(f"input tensor {tensor.name!r} cannot be decoded: its bytes do not fit its shape") from error
    if isinstance(data, np.ndarray):
        return list(data.ravel().tolist())
    return [item for entry in data for item in (entry if isinstance(entry, list) else [entry])]


def _base64(value: Any) -> Any:
    """Bare bytes as the base64 text that the schema asks for; what is base64 already stays."""
    if not isinstance(value, bytes):
        return value
    try:
        base64.b64decode(value, validate=True)
        return value.decode()
    except ValueError:
        return base64.b64encode(value).decode()


def _text(value: Any, name: str) -> Any:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise invalid(f"input tensor {name!r} holds bytes that are not UTF-8 text") from None


def _plain(parameters: Any) -> dict[str, Any]:
    """Request parameters as a dict, from JSON or from gRPC's one-of messages."""
    plain = {}
    for name, value in dict(parameters or {}).items():
        if hasattr(value, "WhichOneof"):
            chosen = value.WhichOneof("parameter_choice")
            value = getattr(value, chosen) if chosen else None
        if name not in _OWN_PARAMETERS:
            plain[name] = value
    return plain
