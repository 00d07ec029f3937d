"""Requests that nobody should send, and how one is made of another at random: all follows from the generator given."""

import json
import random
from typing import Any, NamedTuple

V1, V2, EMBED = "/v1/models/codebase:predict", "/v2/models/codebase/infer", "/openai/v1/embeddings"
HEAR, VOTE = "/openai/v1/audio/transcriptions", "/feedback"
JSON, LENGTH = "application/json", "inference-header-content-length"
NASTY: list[Any] = [
    *(
        None,
        "",
        " ",
        True,
        False,
        0,
        -1,
        1,
        2**31,
        2**40,
        2**63,
        2**70,
        -(2**63),
        0.5,
        1e308,
        float("inf"),
        float("nan"),
    ),
    *(
        [],
        {},
        [None],
        [[]],
        {"a": None},
        ["a"] * 200,
        [True],
        ["1"],
        [1.0],
        [-1],
        [2**62, 4],
        "binary_data",
        "utf-7",
        "{",
    ),
    *(
        "\ud800",
        "\x00",
        "\u202e",
        "a" * 3000,
        "a" * 40_000,
        "é",
        "📎",
        "null",
        "true",
        "1_0",
        "٣",
        "-0",
        "../../etc",
        "\r\n",
    ),
]
CHUNKED = ("transfer-encoding", "chunked")
FORM = "multipart/form-data"
TYPES = [
    *(
        "",
        "text/plain",
        "application/cloudevents+json",
        "application/octet-stream",
        f"{JSON}; charset=utf-16",
        "*/*",
        FORM,
    ),
    *(f"{FORM}; boundary=", f'{FORM}; boundary="', f"{FORM}; boundary={'b' * 5000}", f"{FORM}; boundary*=x-none''b"),
    *(f"{FORM}; boundary*0*=utf-7''%2b; boundary*1=b", f"{JSON};;;=;\xff", "application/x-www-form-urlencoded"),
    *("x" * 4000, f"{JSON}; charset=x-none", "multipart/mixed; boundary=b", "audio/wav"),
]
HEADERS: list[tuple[str, str]] = [
    *(("content-type", kind) for kind in TYPES),
    *((LENGTH, value) for value in ("0", "-1", "5", "1e3", "٣", "99999999999999999999", "", "0x10", "1_0")),
    *(("content-encoding", value) for value in ("gzip", "br", "identity", "deflate, gzip", "x")),
    *(("x-request-id", value) for value in ("", "a" * 5000, "\xff\xfe", "a b", "../x", "id\x01", "%00")),
    *(("accept", "application/octet-stream"), ("accept", "\xff"), ("accept-encoding", "gzip;q=0")),
    *(("expect", "100-continue"), ("ce-id", "1"), ("ce-specversion", "9"), ("ce-type", "\xff"), ("cookie", "a=\xff;;")),
    *(("authorization", "Bearer \xff"), ("authorization", "Basic !"), ("range", "bytes=5-1"), ("if-none-match", "*")),
    *(("upgrade", "h2c"), ("origin", "null"), ("te", "trailers"), ("x-forwarded-for", "::1, \xff")),
    *(("traceparent", "00-zz"), ("content-disposition", "attachment; filename*=utf-7''+2AA-")),
]
NAMES = [
    *(
        b'filename="a.wav"',
        b"filename*=utf-7''+2AA-.ogg",
        b'filename="../../x\x00.mp3"',
        b"filename*=x-none''a",
        b"filename=",
    ),
    *('filename="\u202egpj.exe"'.encode(), b"filename*0=a; filename*1*=utf-8''%ff", b'filename="' + b"n" * 3000 + b'"'),
    *(b"filename*=punycode''" + b"a" * 900, b""),
]
PATHS = [
    "/v2/models/codebase/versions/1/infer",
    "/v2/repository/index",
    "/v1/models/codebase:explain",
    "/v2/models/codebase",
]
PATHS += [
    "/../../etc/passwd",
    "/%2e%2e/x",
    "/peers/a/b",
    "/metrics",
    "*",
    "//",
    "/v1/models/%F0%28:predict",
    f"{V1}?a=%00",
]
FIELDS = ["model", "language", "prompt", "response_format", "stream", "temperature", "name"]
FIELDS += ["timestamp_granularities[]", "vocabulary", "word_timestamps", "x\x00", "", "file"]


class Request(NamedTuple):
    """What goes over the wire; ``framed``: whether its length is told rightly, so that an answer must come."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes
    framed: bool = True


def changed(value: Any, chance: random.Random) -> Any:
    """A JSON value with one part replaced, taken out, doubled or renamed."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        what = chance.random()
        rest = {name: entry for name, entry in value.items() if name != key}
        if what < 0.1:
            return rest
        if what < 0.2:
            return rest | {str(chance.choice(NASTY)): value[key]}
        if what < 0.3:
            return value | {
                chance.choice(["id", "parameters", "outputs", "name", "user", "data"]): chance.choice(NASTY)
            }
        return {**value, key: changed(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        if chance.random() < 0.1:
            return value * chance.choice((0, 2, 150))
        return [*value[:at], changed(value[at], chance), *value[at + 1 :]]
    return chance.choice(NASTY)


def mangled(body: bytes, chance: random.Random, head: int | None = None) -> bytes:
    """Bytes with a few flipped, cut, doubled, zeroed or spliced in; ``head`` keeps most changes in the first ones."""
    data = bytearray(body)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        end = len(data) if head is None or chance.random() < 0.3 else min(head, len(data))
        at, much = chance.randrange(max(1, end)), chance.choice((1, 2, 4, 40))
        kind = chance.randrange(6)
        if kind == 0:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif kind == 1:
            del data[at : at + much]
        elif kind == 2:
            data[at:at] = data[at : at + much]
        elif kind == 3:
            data[at : at + much] = chance.choice((b"\x00", b"\xff", b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00")) * much
        elif kind == 4:
            data[at:at] = chance.choice(
                (b"\x00", b"\xed\xa0\x80", b"--b", b"\r\n", b"{", b'"', b"\\ud800", b"[" * 2000)
            )
        elif chance.random() < 0.3:
            del data[at:]
    return bytes(data)


def json_request(chance: random.Random, heard: bytes) -> Request:
    """v1, v2, embeddings and feedback, their JSON changed once or more."""
    question = {"question": "Where is a verdict written?", "top_k": 2, "path": ""}
    tensor = {"name": "question", "datatype": "BYTES", "shape": [1], "data": ["What is a verdict?"], "parameters": {}}
    outputs = [{"name": "answer", "parameters": {"binary_data": True}}, {"name": "confidence"}]
    v2 = {"id": "a", "inputs": [tensor], "outputs": outputs, "parameters": {"top_k": 2, "binary_data_output": True}}
    bases: list[tuple[str, Any]] = [
        (V1, {"instances": [question, {"question": "What is a bundle?"}]}), (V1, {"predictions": [question]}), (V2, v2),
        (EMBED, {"input": ["a", "b"], "model": "codebase", "encoding_format": "base64", "user": "x"}),
        (VOTE, {"request_id": "a", "vote": "up", "correction": "b", "start": 0.5, "end": 1.0}),
    ]  # fmt: skip
    path, value = chance.choice(bases)
    for _ in range(chance.choice((1, 1, 2, 4))):
        value = changed(value, chance)
    try:
        body = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        body = b"[" * 50_000
    if chance.random() < 0.2:
        body = mangled(body, chance)
    return Request("POST", path, [("content-type", JSON)], body)


def binary_request(chance: random.Random, heard: bytes) -> Request:
    """v2 with tensors behind the JSON, their sizes, shapes, types and bytes changed."""
    text = b"What is a verdict?"
    raw = len(text).to_bytes(4, "little") + text
    tensor: dict[str, Any] = {"name": "question", "datatype": "BYTES", "shape": [1]}
    value: Any = {"inputs": [tensor | {"parameters": {"binary_data_size": len(raw)}}]}
    if chance.random() < 0.5:
        raw += (3).to_bytes(8, "little")
        value["inputs"].append(
            {"name": "top_k", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}}
        )
    if chance.random() < 0.7:
        value = changed(value, chance)
    head = json.dumps(value).encode()
    body = head + (mangled(raw, chance) if chance.random() < 0.6 else raw)
    length = str(len(head) + chance.choice((0, 0, 0, 0, 1, -1, 10_000)))
    return Request("POST", V2, [("content-type", "application/octet-stream"), (LENGTH, length)], body)


def form_request(chance: random.Random, heard: bytes) -> Request:
    """A recording in a form, with names, fields, charsets and boundaries that nobody should send."""
    parts = [b"Content-Disposition: form-data; name=file; " + chance.choice(NAMES) + b"\r\n\r\n" + heard]
    for name in chance.sample(FIELDS, chance.randrange(5)):
        given = json.dumps(chance.choice(NASTY)) if chance.random() < 0.5 else str(chance.choice(NASTY))
        kind = chance.choice(
            ("", "", "\r\nContent-Type: text/plain; charset=x-none", "\r\nContent-Type: text/plain; charset=utf-7")
        )
        field = f'Content-Disposition: form-data; name="{name}"{kind}\r\n\r\n{given}'
        parts.insert(chance.randrange(2), field.encode("utf-8", "surrogatepass"))
    body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
    if chance.random() < 0.3:
        body = mangled(body, chance, 300)
    kinds = ("multipart/form-data; boundary=b", "multipart/form-data; boundary=c", JSON, "")
    return Request("POST", chance.choice((HEAR, HEAR, V1)), [("content-type", chance.choice(kinds))], body)


def on_the_wire(request: Request, chance: random.Random) -> Request:
    """The request with its length told, and now and then other headers, another method, path or transfer coding."""
    method, path, headers, body, _ = request
    if chance.random() < 0.4:
        name, value = chance.choice(HEADERS)
        headers = [(n, v) for n, v in headers if n != name or chance.random() < 0.2] + [(name, value)]
    if chance.random() < 0.05:
        method = chance.choice(("GET", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "BREW"))
    if chance.random() < 0.08:
        path = chance.choice([*PATHS, path + "/", "/" + path, path.upper()])
    how = chance.random()
    if how < 0.85:
        return Request(method, path, [*headers, ("content-length", str(len(body)))], body)
    if how < 0.95:
        cut = chance.randrange(len(body) + 1)
        pieces = [piece for piece in (body[:cut], body[cut:]) if piece]
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        if chance.random() < 0.3:
            return Request(
                method, path, [*headers, ("transfer-encoding", "chunked")], mangled(chunks, chance, 8), False
            )
        return Request(method, path, [*headers, ("transfer-encoding", "chunked")], chunks)
    wrong = chance.choice(("-1", "x", str(len(body) + 9), "99999999999999999999", "5", "5, 5", "+5", ""))
    return Request(method, path, [*headers, ("content-length", wrong)], body, False)
