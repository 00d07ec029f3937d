"""Requests and recordings that were changed at random, by thousands: whatever a client sends is the client's fault.

Every change follows from a seed, which is printed with what broke.
"""

import random
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from mutations import HEAR, V1, Request, binary_request, form_request, json_request, mangled, on_the_wire
from test_server import Live, start, stop
from tones import record, sound

pytestmark = pytest.mark.e2e


def send(live: Live, request: Request) -> int:
    """The status of the answer; 0 where the line was closed without one."""
    address = urlsplit(live.url)
    lines = [f"{request.method} {request.path} HTTP/1.1", f"host: {address.netloc}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    with socket.create_connection((address.hostname, address.port), timeout=30) as line:
        try:
            line.sendall("\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + request.body)
            if not request.framed:
                line.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused before all of it was sent: the answer tells
        answer = b""
        try:
            while b"\r\n" not in answer or answer.startswith(b"HTTP/1.1 100"):
                answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
                piece = line.recv(1 << 16)
                if not piece:
                    break
                answer += piece
        except OSError:
            pass
    found = re.match(rb"HTTP/1\.1 (\d{3})", answer)
    return int(found[1]) if found else 0


def all_of(live: Live, make: Callable[[int], Request], count: int) -> Counter[int]:
    """Send ``count`` requests, eight at once; say of which seed each came that broke."""
    broken: list[str] = []

    def one(seed: int) -> int:
        request = make(seed)
        status = send(live, request)
        if status >= 500 or (status == 0 and request.framed):
            broken.append(
                f"seed {seed}: {status} for {request.method} {request.path} {request.headers} {request.body[:300]!r}"
            )
        return status

    with ThreadPoolExecutor(8) as pool:
        codes = Counter(pool.map(one, range(count)))
    print(dict(codes))
    assert not broken, "\n".join([f"{len(broken)} broke:", *broken[:20]])
    return codes


def unharmed(live: Live) -> None:
    """Afterwards every line of the log is a log line, and nothing was foreseen by nobody."""
    assert live.process.poll() is None
    httpx.get(f"{live.url}/metrics").raise_for_status()
    failed = [line for line in live.lines() if "exception" in line or line.get("code", 0) >= 500]
    assert not failed, "\n".join(map(str, failed[:3]))
    assert "Traceback" not in (live.log.parent / "err").read_text()


@pytest.fixture(scope="module")
def answering(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    running = start(tiny_bundle, tmp_path_factory.mktemp("answering"))
    yield running
    assert stop(running) == 0


@pytest.fixture(scope="module")
def hearing(tiny_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    running = start(tiny_speech / "bundle", tmp_path_factory.mktemp("hearing"))
    yield running
    assert stop(running) == 0


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Half a second of a chord in every container."""
    folder, chord = tmp_path_factory.mktemp("recordings"), sound((0.5, 0.5))
    names = ("a.wav", "a.mp3", "a.m4a", "a.mp4", "a.ogg", "a.flac", "a.mkv", "a.webm")
    return [record(folder / name, chord).read_bytes() for name in names]


def test_three_thousand_changed_requests_leave_no_5xx(answering: Live) -> None:
    def make(seed: int) -> Request:
        chance = random.Random(seed)
        kind = chance.choices((json_request, binary_request, form_request), (5, 2, 1))[0]
        return on_the_wire(kind(chance, b"RIFF"), chance)

    codes = all_of(answering, make, 2600)
    assert codes[200] > 100 and codes[400] > 500
    unharmed(answering)
    body = {"instances": [{"question": "Where is it that a verdict is written?"}]}
    assert httpx.post(answering.url + V1, json=body, timeout=30).json()["predictions"][0]["answer"]


def test_changed_forms_leave_no_5xx(hearing: Live, recordings: list[bytes]) -> None:
    def make(seed: int) -> Request:
        chance = random.Random(seed)
        return on_the_wire(form_request(chance, recordings[0]), chance)

    codes = all_of(hearing, make, 400)
    assert codes[200] > 20 and codes[400] > 50
    unharmed(hearing)


def test_a_thousand_changed_recordings_leave_no_5xx(hearing: Live, recordings: list[bytes]) -> None:
    def make(seed: int) -> Request:
        chance = random.Random(seed)
        media = mangled(chance.choice(recordings), chance, 200)
        if chance.random() < 0.5:
            return Request("POST", V1, [("content-type", "audio/x"), ("content-length", str(len(media)))], media)
        body = b"--b\r\nContent-Disposition: form-data; name=file\r\n\r\n" + media + b"\r\n--b--\r\n"
        headers = [("content-type", "multipart/form-data; boundary=b"), ("content-length", str(len(body)))]
        return Request("POST", HEAR, headers, body)

    codes = all_of(hearing, make, 1000)
    assert codes[200] > 100 and codes[415] > 100
    unharmed(hearing)


def test_changed_messages_of_grpc_are_the_clients_fault(answering: Live) -> None:
    import grpc
    from kserve.protocol.grpc.grpc_predict_v2_pb2 import InferParameter, InferTensorContents, ModelInferRequest

    tensor = ModelInferRequest.InferInputTensor(
        name="question", datatype="BYTES", shape=[1], contents=InferTensorContents(bytes_contents=[b"What is it?"])
    )
    top_k = {"top_k": InferParameter(int64_param=2)}
    whole = ModelInferRequest(model_name="codebase", inputs=[tensor], parameters=top_k).SerializeToString()
    raw = ModelInferRequest(model_name="codebase", inputs=[tensor], raw_input_contents=[np.int32(3).tobytes() + b"why"])
    raw.inputs[0].ClearField("contents")
    theirs = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE)
    broken = []
    with grpc.insecure_channel(answering.grpc) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for seed in range(400):
            chance = random.Random(seed)
            message = mangled(chance.choice((whole, raw.SerializeToString())), chance)
            try:
                ModelInferRequest.FromString(message)
            except Exception:  # gRPC itself refuses it
                continue
            try:
                call(message, timeout=20)
            except grpc.RpcError as error:
                if error.code() in theirs:
                    broken.append(f"seed {seed}: {error.code()} {error.details()}: {message!r}")
    assert not broken, "\n".join(broken[:20])
    unharmed(answering)
