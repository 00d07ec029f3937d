"""Locust against a small server of our own: what was asked is offered, what was answered is recorded."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from load_tests.__main__ import app
from load_tests.asked import from_questions, write_asked
from load_tests.plan import LoadTarget
from load_tests.run import read_samples, run_targets

QUESTIONS = [
    {"question_id": f"q{n}", "question": f"question {n}", "persona": persona, "gold_paths": ["a.py"] if n % 2 else []}
    for n, persona in enumerate(["novice", "experienced", "researcher"] * 4)
]


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        (instance,) = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["instances"]
        assert self.path == "/v1/models/codebase:predict"
        # Question 4 fails, so that errors are seen too.
        failed = instance.get("question") == "question 4"
        prediction = {"answer": "a", "sources": [{"path": "a.py"}], "text": "what was said " * ("audio" in instance)}
        body = json.dumps({"predictions": [prediction]}).encode()
        self.send_response(503 if failed else 200)
        self.send_header("x-sluice-revision", "codebase-00001")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def host():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_locust_records_every_request_of_every_target(host, tmp_path):
    targets = [LoadTarget("split", host, 6, 30.0), LoadTarget("canary", "http://127.0.0.1:9", 3, 10.0)]
    found = run_targets(targets, "codebase", from_questions(QUESTIONS), 2, tmp_path)
    split, canary = (found[found["target"] == name] for name in ("split", "canary"))
    assert 20 <= len(split) <= 75, "about 30/s for 2 s, less on a machine that has other work"
    assert set(split["revision"]) == {"codebase-00001"}
    assert set(split["persona"]) == {"novice", "experienced", "researcher"}
    good = split[split["status"] == 200]
    assert (good["latency_ms"] > 0).all()
    odd = good["asked"].str[1:].astype(int) % 2 == 1
    assert list(good.loc[odd, "correct"].unique()) == [True]
    assert good.loc[~odd, "correct"].isna().all()
    assert set(split.loc[split["asked"] == "q4", "status"]) <= {503}
    assert set(canary["status"]) == {0}, "nobody listens there"
    assert canary["error"].str.contains("refused").all()


def test_the_command_exits_with_1_when_the_slo_is_missed(host, tmp_path):
    slo = tmp_path / "slo.yaml"
    slo.write_text("slo: {requests_per_s: 5, error_rate: 0, min_requests: 5}\nload: {users: 4, rate: 20, seconds: 1}")
    questions = tmp_path / "questions.json"
    command = ["--host", host, "--model", "codebase", "--slo", str(slo), "--report", str(tmp_path)]
    for asked, code, word in ((QUESTIONS[:4], 0, "SLO kept"), (QUESTIONS[4:5], 1, "SLO missed")):
        questions.write_text(json.dumps(asked))
        done = CliRunner().invoke(app, [*command, "--questions", str(questions)])
        assert done.exit_code == code, done.output
        assert word in (tmp_path / "load.html").read_text()


def test_recordings_are_asked_by_plain_users_and_counted_in_seconds_of_audio(host, tmp_path):
    rows = [
        {"id": f"u{n}", "task": "transcription", "persona": "", "instance": {"audio": "A" * 100_000},
         "expect": {"text": "what was said" if n % 2 else "something else entirely"}, "units": 2.5}
        for n in range(4)
    ]  # fmt: skip
    write_asked(rows, tmp_path / "asked")
    slo = tmp_path / "slo.yaml"
    slo.write_text("slo: {requests_per_s: 0, units_per_s: 10, min_requests: 5}\nload: {users: 2, rate: 12, seconds: 1}")
    command = ["--host", host, "--model", "codebase", "--slo", str(slo), "--report", str(tmp_path)]
    command += ["--requests", str(tmp_path / "asked")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "s of audio/s" in done.output
    found = read_samples(tmp_path / "samples.csv")
    assert dict(found.groupby("asked")["correct"].first()) == {"u0": False, "u1": True, "u2": False, "u3": True}
    assert set(found["persona"]) == {""}


class Stranger(BaseHTTPRequestHandler):
    """Somebody else's endpoint: every protocol, behind a key, on paths of its own."""

    protocol_version = "HTTP/1.1"
    seen: dict[str, tuple] = {}

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        known = self.headers["Authorization"] == "Bearer sesame" and self.headers["X-Tenant"] == "blue"
        self.seen[self.path] = (self.headers["Content-Type"].partition(";")[0], body)
        answers = {
            "/v1/models/flower:predict": {"predictions": [2]},
            "/v2/models/flower/infer": {"outputs": [{"name": "label", "data": [2]}]},
            "/chat": {"choices": [{"message": {"content": "A rose."}}]},
            "/openai/v1/embeddings": {"data": [{"embedding": [0.5, 0.5]}]},
            "/openai/v1/audio/transcriptions": {"text": "a rose"},
        }
        said = json.dumps(answers[self.path]).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_):
        pass


def test_the_gate_takes_any_endpoint_by_its_protocol_with_its_headers_and_its_own_requests(tmp_path, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stranger)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    (tmp_path / "slo.yaml").write_text(
        "slo: {requests_per_s: 1, error_rate: 0, min_requests: 3}\nload: {users: 2, rate: 12, seconds: 1}\n"
        "questions: [{question: which}]"
    )
    (tmp_path / "clip.wav").write_bytes(b"RIFF sound")
    rows = {
        "v1": {"instance": {"sepal": [5.1, 3.5]}},
        "v2": {"instance": {"sepal": [5.1, 3.5], "name": "iris", "large": True}},
        "chat": {"body": {"model": "flower", "messages": [{"role": "user", "content": "Which?"}]}, "path": "/chat"},
        "embeddings": {"instance": {"input": "a rose"}},
        "transcriptions": {"file": "clip.wav", "fields": {"language": "en"}, "task": "transcription", "units": 2.5,
                           "expect": {"text": "a rose"}},
    }  # fmt: skip
    base = [
        "--host",
        f"http://127.0.0.1:{server.server_port}",
        "--model",
        "flower",
        "--slo",
        str(tmp_path / "slo.yaml"),
    ]
    monkeypatch.setenv("SLUICE_API_KEY", "sesame")
    for protocol, row in rows.items():
        (tmp_path / "requests.jsonl").write_text(json.dumps(row))
        asked = ["--protocol", protocol, "--requests", str(tmp_path / "requests.jsonl"), "--report", str(tmp_path)]
        done = CliRunner().invoke(app, [*base, *asked, "--header", "X-Tenant: blue"])
        assert done.exit_code == 0, done.output
    assert set(read_samples(tmp_path / "samples.csv")["correct"]) == {True}
    done = CliRunner().invoke(app, [*base, "--protocol", "embeddings"])
    assert (done.exit_code, "mostly status 401" in done.output.replace("\n", " ")) == (1, True)
    for flags, why in (
        (["--protocol", "grpc"], "expected one of v1, v2"),
        (["--header", "x"], "expected 'Name: value'"),
        (["--protocol", "transcriptions"], "--requests FILE"),
    ):
        done = CliRunner().invoke(app, [*base, *flags])
        assert (done.exit_code, why in done.output.replace("\n", " ")) == (2, True), done.output
    server.shutdown()
    server.server_close()
    thread.join()
    kind, sent = Stranger.seen["/openai/v1/audio/transcriptions"]
    assert kind == "multipart/form-data"
    assert b'filename="clip.wav"' in sent and b"RIFF sound" in sent and b'name="language"\r\n\r\nen' in sent
    tensors = json.loads(Stranger.seen["/v2/models/flower/infer"][1])["inputs"]
    assert [(t["datatype"], t["shape"]) for t in tensors] == [("FP64", [1, 2]), ("BYTES", [1]), ("BOOL", [1])]
    assert json.loads(Stranger.seen["/openai/v1/embeddings"][1])["model"] == "flower"
