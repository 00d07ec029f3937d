"""Between the tensors of the Open Inference Protocol (v2) and the instances that a predictor answers.

An input tensor is one field of the instances: its name is the field's, its first dimension counts the instances. A
request parameter is a field that all instances share. Each output tensor is one field of the results.
"""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from kserve import InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput

from serving.contract.refusals import invalid

_OF_SCHEMA = {"string": "BYTES", "number": "FP32", "integer": "INT64", "boolean": "BOOL"}
_OF_PYTHON = ((bool, "BOOL"), (int, "INT64"), (float, "FP32"))
_LONGEST_NAME = 200
_OWN_PARAMETERS = {"binary_data_output", "binary_data_size", "id"}


def describe(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Tensor metadata of a JSON schema's fields, as `/v2/models/{name}` answers: name, datatype, shape [-1]."""
    fields = schema.get("properties", {})
    return [
        {"name": name, "datatype": _OF_SCHEMA.get(str(field.get("type")), "BYTES"), "shape": [-1]}
        for name, field in fields.items()
    ]


def request_of(body: bytes, json_length: str | None, model: str) -> InferRequest:
    """A v2 REST body as a request, strictly: no number is made of a text or of true, no tensor of bytes never sent.

    ``json_length``: the header Inference-Header-Content-Length, where tensors follow the JSON as bytes (KServe's binary
    extension). null and "" of optional members mean that they are left out. Errors: 400.
    """
    end = len(body)
    if json_length:
        if not (json_length.isascii() and json_length.isdigit()) or not 0 < int(json_length[:20]) <= end:
            raise invalid(f"the header Inference-Header-Content-Length must be a number from 1 to {end}, the body's")
        end = int(json_length)
    try:
        request = orjson.loads(body[:end])
    except orjson.JSONDecodeError as error:
        raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise invalid("the body must be a JSON object with 'inputs', a list of tensors")
    inputs, rest = [], memoryview(body)[end:]
    for at, tensor in enumerate(request["inputs"]):
        made, taken = _tensor(tensor, f"inputs[{at}]", rest)
        inputs.append(made)
        rest = rest[taken:]
    if len(rest):
        raise invalid(f"{len(rest)} bytes follow the tensors; each tensor's binary_data_size says how many are its own")
    listed = _member(request, "outputs", list, "the body") or []
    asked = [RequestedOutput(*_named(output, f"outputs[{at}]")) for at, output in enumerate(listed)]
    for kind, entries in (("inputs", inputs), ("outputs", asked)):
        if len({entry.name for entry in entries}) < len(entries):
            raise invalid(f"{kind!r} names a tensor twice")
    name, parameters = _member(request, "id", str, "the body"), _parameters(request, "the body")
    return InferRequest(model, inputs, name, parameters=parameters, request_outputs=asked)


def _tensor(tensor: Any, where: str, rest: memoryview) -> tuple[InferInput, int]:
    """A tensor and how many of the bytes behind the JSON are its own."""
    name, parameters = _named(tensor, where)
    kind, shape, data = tensor.get("datatype"), tensor.get("shape"), _member(tensor, "data", list, where)
    if not isinstance(kind, str) or not isinstance(shape, list) or any(type(n) is not int for n in shape):
        raise invalid(f"{where} must have a 'datatype' (text) and a 'shape' (list of whole numbers)")
    made, size = InferInput(name, shape, kind, data, parameters), parameters.get("binary_data_size")
    if (data is None) == (size is None):
        raise invalid(f"{where} must have either 'data' or, among its parameters, binary_data_size")
    if size is None:
        return made, 0
    if not 0 <= size <= len(rest):
        raise invalid(f"{where}: its binary_data_size is {size}, but {len(rest)} bytes are left of the body")
    made._raw_data = bytes(rest[:size])
    return made, size


def _named(entry: Any, where: str) -> tuple[str, dict[str, Any]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or len(entry["name"]) > _LONGEST_NAME:
        raise invalid(f"{where} must be an object with a 'name' of at most {_LONGEST_NAME} characters")
    return entry["name"], _parameters(entry, where)


def _parameters(entry: dict[str, Any], where: str) -> dict[str, Any]:
    """The parameters that are given; those of KServe's binary extension are of their type."""
    found = _member(entry, "parameters", dict, where) or {}
    for name, kind in (("binary_data_size", int), ("binary_data_output", bool), ("binary_data", bool)):
        _member(found, name, kind, f"the parameters of {where}")
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _member(entry: dict[str, Any], name: str, kind: type, where: str) -> Any:
    """An optional member; ``None`` where it is missing, null or ""."""
    value = entry.get(name)
    if value is None or value == "":
        return None
    if type(value) is not kind:
        words = {list: "a list", dict: "an object", str: "a text", int: "a whole number", bool: "true or false"}
        raise invalid(f"{name!r} of {where} must be {words[kind]}")
    return value


def instances_of(request: Any, schema: dict[str, Any]) -> list[dict[str, Any]]:
    """Instances of a `kserve.InferRequest`, not yet checked field by field.

    Errors: 400 if a tensor is unknown, of the wrong type, ragged, or holds less than its shape says.
    """
    fields = schema.get("properties", {})
    columns: dict[str, list[Any]] = {}
    for tensor in request.inputs:
        if tensor.name not in fields:
            raise invalid(f"unknown input tensor {str(tensor.name)[:_LONGEST_NAME]!r}; expected {', '.join(fields)}")
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
    if not shape or any(type(n) is not int or n < 0 for n in shape) or shape[1:] not in ([], [1]):
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
    if not isinstance(data, list):
        raise invalid(f"'data' of input tensor {tensor.name!r} must be a list")
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
