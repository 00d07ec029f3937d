"""How a request goes to an endpoint and what counts as its answer, by protocol. The locustfile calls nothing else."""

import base64
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import urllib3

from serving.contract.access import bearer
from serving.contract.errors import SluiceError

Row = dict[str, Any]
Answer = tuple[Row | None, str]
"""What the endpoint said, as fields that `load_tests.asked.is_correct` reads, or why the body is no answer."""
HEADERS_VARIABLE = "SLUICE_LOAD_HEADERS"


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent: path, body, its content type."""

    path: str
    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True)
class Protocol:
    """A protocol: its usual path (with ``{model}``), an instance's body, and how an answer's JSON is read."""

    path: str
    body: Callable[[str, Row], Any]
    read: Callable[[Any], Row | None]
    shape: str

    def answer(self, body: Any) -> Answer:
        """Read the JSON of a 2xx answer; see `Answer`."""
        try:
            said = self.read(body)
        except (LookupError, TypeError, AttributeError, ValueError):
            said = None
        return said, "" if said is not None else f"the body is not {self.shape}"


def request_of(row: Row, protocol: str, model: str, path: str, adds: Mapping[str, Any]) -> Request:
    """The request of one row (see `load_tests.asked`): its own ``body``, its ``instance``, or its ``file`` as a form.

    ``path``: instead of the protocol's; a row's own comes before both. ``adds``: fields that the user adds to an
    instance of the v1 and v2 protocols.
    """
    kind = PROTOCOLS[protocol]
    where = row.get("path") or (path or kind.path).format(model=model)
    if "body" in row:
        return Request(where, json.dumps(row["body"]).encode())
    instance = row["instance"] | (adds if protocol in ("v1", "v2") else {})
    if protocol == "transcriptions":
        return _form(where, model, instance)
    return Request(where, json.dumps(kind.body(model, instance)).encode())


def headers() -> dict[str, str]:
    """What every request carries: ``SLUICE_LOAD_HEADERS`` (a JSON object), ``SLUICE_API_KEY`` as a bearer token.

    Errors: `SluiceError` for a key that is no header.
    """
    given: dict[str, str] = json.loads(os.environ.get(HEADERS_VARIABLE) or "{}")
    return bearer() | given


def parse_headers(given: list[str]) -> dict[str, str]:
    """Headers as curl takes them, ``Name: value``. Errors: SluiceError for one that is none."""
    found = {}
    for text in given:
        name, colon, value = text.partition(":")
        if not colon or not name.strip() or any(sign in text for sign in "\r\n\0"):
            raise SluiceError(f"header {text[:60]!r}: expected 'Name: value'")
        found[name.strip()] = value.strip()
    return found


def _form(path: str, model: str, instance: Row) -> Request:
    fields = {"model": model} | {
        name: _text(value) for name, value in instance.items() if name not in ("audio", "name")
    }
    recording = (str(instance.get("name") or "recording.wav"), base64.b64decode(instance["audio"]))
    return Request(path, *urllib3.encode_multipart_formdata({**fields, "file": recording}))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _prompt(instance: Row) -> str:
    """The text of an instance, whatever its field is called."""
    return str(next((instance[name] for name in ("question", "prompt", "input", "text") if name in instance), ""))


def _tensor(name: str, value: Any) -> Row:
    values = value if isinstance(value, list) else [value]
    kinds = {bool: "BOOL", int: "INT64", float: "FP64"}
    kind = next((kinds[of] for of in kinds if values and all(type(v) is of for v in values)), "BYTES")
    data = values if kind != "BYTES" else [_text(v) for v in values]
    return {"name": name, "shape": [1, len(data)] if isinstance(value, list) else [1], "datatype": kind, "data": data}


def _v1_answer(body: Any) -> Row | None:
    predictions = body["predictions"]
    if not isinstance(predictions, list) or not predictions:
        return None
    return predictions[0] if isinstance(predictions[0], dict) else {"prediction": predictions[0]}


def _v2_answer(body: Any) -> Row | None:
    outputs = {output["name"]: output["data"][0] if len(output["data"]) == 1 else output["data"]
               for output in body["outputs"]}  # fmt: skip
    return {name: _unpacked(value) for name, value in outputs.items()} or None


def _unpacked(value: Any) -> Any:
    """Lists and objects travel as JSON in BYTES."""
    try:
        return json.loads(value) if isinstance(value, str) and value[:1] in ("[", "{") else value
    except ValueError:
        return value


def _chat_answer(body: Any) -> Row | None:
    text = body["choices"][0]["message"]["content"]
    return {"text": text} if isinstance(text, str) and text.strip() else None


def _embeddings_answer(body: Any) -> Row | None:
    vector = body["data"][0]["embedding"]
    return {"embedding": vector} if isinstance(vector, list | str) and vector else None


def _transcription_answer(body: Any) -> Row | None:
    return {"text": body["text"]} if isinstance(body["text"], str) else None


PROTOCOLS = {
    "v1": Protocol(
        "/v1/models/{model}:predict",
        lambda model, instance: {"instances": [instance]},
        _v1_answer,
        "{predictions: [...]}",
    ),
    "v2": Protocol(
        "/v2/models/{model}/infer",
        lambda model, instance: {"inputs": [_tensor(name, value) for name, value in instance.items()]},
        _v2_answer,
        "{outputs: [{name, data}]}",
    ),
    "chat": Protocol(
        "/openai/v1/chat/completions",
        lambda model, instance: {"model": model, "messages": [{"role": "user", "content": _prompt(instance)}]},
        _chat_answer,
        "{choices: [{message: {content}}]}",
    ),
    "embeddings": Protocol(
        "/openai/v1/embeddings",
        lambda model, instance: {"model": model, "input": _prompt(instance)},
        _embeddings_answer,
        "{data: [{embedding}]}",
    ),
    "transcriptions": Protocol(
        "/openai/v1/audio/transcriptions",
        lambda model, instance: instance,  # a form, see `_form`
        _transcription_answer,
        "{text}",
    ),
}
"""KServe's v1, the Open Inference Protocol (v2), and OpenAI's three, on the paths where KServe serves them."""
