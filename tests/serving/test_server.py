"""The server as a process of its own, over real HTTP and gRPC, answering from the small whole bundle."""

import asyncio
import base64
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

QUESTION = "Where is it that a verdict is written?"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Live:
    """A running revision."""

    process: subprocess.Popen[bytes]
    url: str
    grpc: str
    log: Path

    def memory_mb(self) -> float:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


def start(bundle: Path, folder: Path, *flags: str) -> Live:
    http, grpc = free_port(), free_port()
    log = folder / "log"
    command = [sys.executable, "-m", "serving", "--model-name", "codebase", "--model-dir", str(bundle)]
    command += ["--host", "127.0.0.1", "--http-port", str(http), "--grpc-port", str(grpc), *flags]
    environment = os.environ | {"K_REVISION": "codebase-00007", "SLUICE_HOME": str(folder)}
    with log.open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
    live = Live(process, f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}", log)
    for _ in range(3000):
        assert process.poll() is None, (folder / "err").read_text()
        try:
            if httpx.get(live.url + "/v2/models/codebase/ready").status_code == 200:
                return live
        except httpx.TransportError:
            pass
        time.sleep(0.02)
    raise AssertionError("never ready")


def stop(live: Live) -> int:
    live.process.send_signal(signal.SIGTERM)
    return live.process.wait(30)


@pytest.fixture(scope="module")
def live(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    running = start(tiny_bundle, tmp_path_factory.mktemp("live"), "--max-in-flight", "64")
    yield running
    assert stop(running) == 0
    assert "Traceback" not in (running.log.parent / "err").read_text()


@pytest.fixture(scope="module")
def client(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=30) as client:
        yield client


def predict(client: httpx.Client, *questions: str, **headers: str) -> httpx.Response:
    body = {"instances": [{"question": question, "top_k": 2} for question in questions]}
    return client.post("/v1/models/codebase:predict", json=body, headers=headers)


def test_v1_answers_with_sources_and_names_revision_and_request(client: httpx.Client) -> None:
    response = predict(client, QUESTION, **{"x-request-id": "mine"})
    assert response.status_code == 200
    answer = response.json()["predictions"][0]
    assert set(answer) >= {"answer", "confidence", "abstained", "sources", "revision", "request_id"}
    assert len(answer["sources"]) == 2
    assert answer["sources"][0]["path"].startswith("logging/")
    assert answer["revision"] == "codebase-00007" and len(answer["request_id"]) == 32
    assert predict(client, QUESTION, **{"x-request-id": "mine"}).json()["request_id"] != answer["request_id"]
    assert client.post("/feedback", json={"request_id": "mine", "vote": "up"}).status_code == 400
    assert (response.headers["x-sluice-revision"], response.headers["x-request-id"]) == ("codebase-00007", "mine")


def test_a_batch_numbers_its_answers_so_that_feedback_finds_each(client: httpx.Client) -> None:
    body = predict(client, QUESTION, "What loads a bundle?").json()
    assert [p["request_id"] for p in body["predictions"]] == [f"{body['request_id']}-{n}" for n in (0, 1)]


def test_v2_rest_and_grpc_answer_as_v1_does(client: httpx.Client, live: Live) -> None:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    expected = predict(client, QUESTION).json()["predictions"][0]
    tensor = {"name": "question", "datatype": "BYTES", "shape": [1]}
    rest = client.post("/v2/models/codebase/infer", json={"inputs": [tensor | {"data": [QUESTION]}],
                                                          "parameters": {"top_k": 2}})  # fmt: skip
    assert rest.status_code == 200, rest.text
    outputs = {output["name"]: output["data"][0] for output in rest.json()["outputs"]}
    assert outputs["answer"] == expected["answer"]
    assert outputs["revision"] == "codebase-00007"
    assert json.loads(outputs["sources"]) == expected["sources"]
    with grpc.insecure_channel(live.grpc) as channel:
        stub = GRPCInferenceServiceStub(channel)
        contents = pb.InferTensorContents(bytes_contents=[QUESTION.encode()])
        inputs = [pb.ModelInferRequest.InferInputTensor(**tensor, contents=contents)]
        top_k = {"top_k": pb.InferParameter(int64_param=2)}
        answer, call = stub.ModelInfer.with_call(
            pb.ModelInferRequest(model_name="codebase", inputs=inputs, parameters=top_k), timeout=20
        )
        by_name = {output.name: output for output in answer.outputs}
        assert json.loads(by_name["sources"].contents.bytes_contents[0]) == expected["sources"]
        assert by_name["confidence"].contents.fp32_contents[0] == pytest.approx(expected["confidence"], abs=1e-3)
        assert dict(call.trailing_metadata())["x-sluice-revision"] == "codebase-00007"
        for request, code in (
            (pb.ModelInferRequest(model_name="other", inputs=inputs), grpc.StatusCode.NOT_FOUND),
            (pb.ModelInferRequest(model_name="codebase"), grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request, timeout=20)
            assert refused.value.code() == code


def test_embeddings_speak_openais_dialect_in_both_encodings(client: httpx.Client) -> None:
    ask = {"model": "codebase", "input": ["a verdict", "a bundle"]}
    plain = client.post("/openai/v1/embeddings", json=ask).json()
    coded = client.post("/openai/v1/embeddings", json=ask | {"encoding_format": "base64"}).json()
    vectors = np.asarray([row["embedding"] for row in plain["data"]], np.float32)
    decoded = [np.frombuffer(base64.b64decode(row["embedding"]), "<f4") for row in coded["data"]]
    assert np.allclose(vectors, decoded, atol=1e-6)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    assert plain["usage"]["prompt_tokens"] == plain["usage"]["total_tokens"] == 8
    wrong = client.post("/openai/v1/embeddings", json={"model": "codebase", "input": ""})
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (400, "invalid_request_error")


def test_feedback_finds_the_answer_it_is_about(client: httpx.Client) -> None:
    about = predict(client, QUESTION).json()["request_id"]
    assert client.post("/feedback", json={"request_id": about, "vote": "up", "correction": "x"}).status_code == 200
    assert 'sluice_votes_total{revision="codebase-00007",vote="up"} 1.0' in client.get("/metrics").text
    assert client.post("/feedback", json={"request_id": "nobody", "vote": "up"}).status_code == 400
    assert client.post("/feedback", json={"request_id": about, "vote": "sideways"}).status_code == 400


V1, V2, EMBED = "/v1/models/codebase:predict", "/v2/models/codebase/infer", "/openai/v1/embeddings"


def tensor(**change: Any) -> bytes:
    return json.dumps(
        {"inputs": [{"name": "question", "datatype": "BYTES", "shape": [1], "data": ["q"]} | change]}
    ).encode()


def request(**more: Any) -> bytes:
    return json.dumps(json.loads(tensor()) | more).encode()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (V1, b"{", 400), (V1, b"", 400), (V1, b"[]", 400), (V1, b"{}", 400), (V1, b"\xff\xfe", 400),
        (V1, b'{"instances": {}}', 400), (V1, b'{"instances": []}', 400), (V1, b'{"instances": [1]}', 400),
        (V1, b'{"instances": [{}]}', 400), (V1, b'{"instances": [{"question": 5}]}', 400),
        (V1, b'{"instances": [{"question": "  "}]}', 400), (V1, b'{"instances": [{"question": "q", "top_k": 0}]}', 400),
        (V1, b'{"instances": [{"question": "\\ud800"}]}', 400), (V1, b"[" * 100_000, 400),
        (V1, json.dumps({"instances": [{"question": "q"}] * 500}).encode(), 400),
        ("/v1/models/other:predict", b'{"instances": [{"question": "q"}]}', 404),
        ("/v1/models/codebase:explain", b'{"instances": [{"question": "q"}]}', 404),
        (V2, b"{", 400), (V2, b"{}", 400), (V2, b'{"inputs": []}', 400), (V2, tensor(name="other"), 400),
        (V2, tensor(datatype="FP32", data=[1.0]), 400), (V2, tensor(shape=[3]), 400), (V2, tensor(shape=[-1]), 400),
        (V2, tensor(shape=[1, 1, 1]), 400), (V2, tensor(shape=[]), 400), (V2, tensor(data=[7]), 400),
        (V2, tensor(data=[None]), 400), (V2, tensor(data=[["q", "q"]]), 400), (V2, tensor(data="q"), 400),
        (V2, tensor(shape=[True]), 400), (V2, request(outputs=[{"name": "none"}]), 400),
        (V2, request(parameters={"top_k": 0}), 400),
        ("/v2/models/codebase/versions/3/infer", tensor(), 404), ("/v2/models/other/infer", tensor(), 404),
        ("/v2/repository/models/codebase/unload", b"", 403),
        (EMBED, b"{", 400), (EMBED, b'{"input": []}', 400), (EMBED, b'{"input": [1, 2]}', 400),
        (EMBED, b'{"input": "a", "model": "gpt"}', 404), (EMBED, b'{"input": "a", "encoding_format": "hex"}', 400),
        ("/feedback", b"{", 400), ("/feedback", b'{"request_id": 5, "vote": "up"}', 400), ("/nowhere", b"", 404),
        ("/metrics", b"", 404),
    ],
)  # fmt: skip
def test_a_bad_request_gets_a_sentence(client: httpx.Client, path: str, body: bytes, status: int) -> None:
    response = client.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    error = response.json()["error"]
    sentence = error["message"] if isinstance(error, dict) else error
    assert 10 < len(sentence) < 400
    assert not re.search(r"Traceback|File \"|Error\(|pydantic|site-packages", response.text)
    assert response.headers["x-sluice-revision"] == "codebase-00007"
    assert response.json()["request_id"] == response.headers["x-request-id"]


def test_broken_binary_tensors_are_the_clients_fault(client: httpx.Client) -> None:
    head = json.dumps({"inputs": [{"name": "question", "datatype": "BYTES", "shape": [1],
                                   "parameters": {"binary_data_size": 8}}]}).encode()  # fmt: skip
    for length, tail in ((len(head), b"\xff\xff\xff\x7fabcd"), (5, b""), (-1, b""), (10**9, b""), ("٣", b"")):
        headers = {"inference-header-content-length": str(length).encode()}
        assert client.post(V2, content=head + tail, headers=headers).status_code == 400
    text = b"a verdict is written"
    whole = len(text).to_bytes(4, "little") + text
    head = head.replace(b"8", str(len(whole)).encode(), 1) if b'"binary_data_size": 8' in head else head
    head = re.sub(rb'"binary_data_size": \d+', b'"binary_data_size": %d' % len(whole), head)
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    assert client.post(V2, content=head + whole, headers=headers).status_code == 200


def test_null_and_empty_optional_fields_mean_their_default(client: httpx.Client) -> None:
    def asked(**fields: Any) -> Any:
        return client.post(V1, json={"instances": [{"question": QUESTION, **fields}]}).json()["predictions"][0][
            "sources"
        ]

    for nothing in (None, ""):
        assert asked(top_k=nothing, path=nothing) == asked()
        v2 = client.post(V2, content=request(parameters={"top_k": nothing}, id=nothing, outputs=nothing))
        assert len(v2.json()["outputs"]) == 6 and v2.json()["id"]
        assert client.post(V2, content=tensor(parameters=nothing)).status_code == 200
        body = {"input": "a", "model": nothing, "encoding_format": nothing, "dimensions": nothing, "user": nothing}
        assert client.post(EMBED, json=body).status_code == 200
        assert client.post(V1, json={"instances": [{"question": nothing}]}).status_code == 400
        vote = {"request_id": predict(client, QUESTION).json()["request_id"], "vote": "up"}
        empty = dict.fromkeys(("correction", "start", "end"), nothing)
        assert client.post("/feedback", json=vote | empty).status_code == 200


def test_listed_outputs_are_as_binary_as_the_request_says(client: httpx.Client) -> None:
    def ask(binary: bool | None, own: bool | None = None) -> httpx.Response:
        outputs = [{"name": "answer", "parameters": {"binary_data": own}}, {"name": "confidence"}]
        return client.post(V2, content=request(parameters={"binary_data_output": binary}, outputs=outputs))

    plain, mixed, binary = ask(None), ask(True, False), ask(True)
    assert "inference-header-content-length" not in plain.headers
    answer = plain.json()["outputs"][0]["data"][0].encode()
    whole = len(answer).to_bytes(4, "little") + answer
    for response, expected in ((binary, whole), (mixed, b"")):
        assert response.headers["content-type"] == "application/octet-stream"
        tail = response.content[int(response.headers["inference-header-content-length"]) :]
        assert (tail[:-4], len(tail) - len(expected)) == (expected, 4)


def test_ten_megabytes_are_refused_declared_or_streamed_and_leave_no_trace_in_memory(
    client: httpx.Client, live: Live
) -> None:
    before = live.memory_mb()

    def stream() -> Iterator[bytes]:
        for _ in range(160):
            yield b" " * 65_536

    for body in (b" " * 10_485_760, stream()):
        response = client.post(V1, content=body)
        assert response.status_code == 413
        assert "1000000 bytes" in response.json()["error"]
    assert live.memory_mb() - before < 30


def test_a_thousand_at_once_are_answered_or_told_to_come_back(live: Live, client: httpx.Client) -> None:
    body = json.dumps({"instances": [{"question": QUESTION}]}).encode()
    head = f"POST {V1} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    port = int(live.url.rsplit(":", 1)[1])

    async def one() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        return answer

    async def all_at_once() -> list[bytes]:
        return await asyncio.gather(*(one() for _ in range(1000)))

    before = live.memory_mb()
    answers = asyncio.run(all_at_once())
    statuses = [int(answer.split(b" ", 2)[1]) for answer in answers]
    assert set(statuses) <= {200, 429}
    assert statuses.count(200) >= 64
    assert all(b"retry-after: " in answer.lower() for answer in answers if b" 429 " in answer[:20])
    assert live.memory_mb() - before < 150
    assert predict(client, QUESTION).status_code == 200


def test_figures_and_log_name_the_revision(client: httpx.Client, live: Live) -> None:
    asked = predict(client, QUESTION, **{"x-request-id": "logged"})
    page = client.get("/metrics").text
    assert re.search(r'sluice_requests_total\{code="200",revision="codebase-00007",route="v1"\} \d', page)
    for name in ("sluice_request_seconds_bucket", "sluice_in_flight", "sluice_queue_depth", "sluice_batch_size_count",
                 "sluice_tokens_total", "sluice_abstained_total", "request_predict_seconds_count",
                 "sluice_confidence_count", "sluice_input_characters_count",
                 'sluice_queue_limit{revision="codebase-00007"} 256.0',
                 'sluice_feedback_failures_total{revision="codebase-00007",what="dropped"} 0.0',
                 'sluice_writer_up{revision="codebase-00007",writer="feedback"} 1.0',
                 'sluice_writer_up{revision="codebase-00007",writer="log"} 1.0'):  # fmt: skip
        assert name in page
    for _ in range(100):
        lines = [line for line in live.lines() if line.get("client_request_id") == "logged"]
        if lines:
            break
        time.sleep(0.05)
    ids = [source["passage_id"] for source in asked.json()["predictions"][0]["sources"]]
    assert (lines[0]["code"], lines[0]["route"], lines[0]["sources"]) == (200, "v1", [ids])


def test_a_revision_that_is_told_to_go_first_says_so_then_finishes_what_it_has(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    live = start(tiny_bundle, tmp_path, "--drain", "0.6")
    port = int(live.url.rsplit(":", 1)[1])
    body = json.dumps({"instances": [{"question": QUESTION}]}).encode()

    with socket.create_connection(("127.0.0.1", port)) as slow, httpx.Client(base_url=live.url) as client:
        # Half a request is in flight when the signal comes; its other half arrives after the listener has closed.
        head = f"POST {V1} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
        slow.sendall(head.encode() + body[:5])
        time.sleep(0.1)
        live.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/models/codebase/ready").status_code == 503
        assert predict(client, QUESTION).status_code == 200
        time.sleep(0.8)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
        slow.sendall(body[5:])
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
    assert live.process.wait(20) == 0
