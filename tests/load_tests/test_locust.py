"""Locust against a small server of our own: what was asked is offered, what was answered is recorded."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from load_tests.__main__ import app
from load_tests.plan import Target
from load_tests.run import run_targets

QUESTIONS = [
    {"question_id": f"q{n}", "question": f"question {n}", "persona": persona, "gold_paths": ["a.py"] if n % 2 else []}
    for n, persona in enumerate(["novice", "experienced", "researcher"] * 4)
]


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/v1/models/codebase:predict"
        # Question 4 fails, so that errors are seen too.
        failed = asked["instances"][0]["question"] == "question 4"
        body = json.dumps({"predictions": [{"answer": "a", "sources": [{"path": "a.py"}]}]}).encode()
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
    targets = [Target("split", host, 6, 30.0), Target("canary", "http://127.0.0.1:9", 3, 10.0)]
    found = run_targets(targets, "codebase", QUESTIONS, 2, tmp_path)
    split, canary = (found[found["target"] == name] for name in ("split", "canary"))
    assert 35 <= len(split) <= 66, "about 30/s for 2 s"
    assert set(split["revision"]) == {"codebase-00001"}
    assert set(split["persona"]) == {"novice", "experienced", "researcher"}
    good = split[split["status"] == 200]
    assert (good["latency_ms"] > 0).all()
    odd = good["question_id"].str[1:].astype(int) % 2 == 1
    assert list(good.loc[odd, "correct"].unique()) == [True]
    assert good.loc[~odd, "correct"].isna().all()
    assert set(split.loc[split["question_id"] == "q4", "status"]) <= {503}
    assert set(canary["status"]) == {0}, "nobody listens there"
    assert canary["error"].str.contains("refused").all()


def test_the_command_exits_with_1_when_the_slo_is_missed(host, tmp_path):
    slo = tmp_path / "slo.yaml"
    slo.write_text("slo: {requests_per_s: 5, error_rate: 0, min_requests: 5}\nload: {users: 4, rate: 20, seconds: 1}")
    questions = tmp_path / "questions.json"
    command = ["--host", host, "--slo", str(slo), "--report", str(tmp_path)]
    for asked, code, word in ((QUESTIONS[:4], 0, "SLO kept"), (QUESTIONS[4:5], 1, "SLO missed")):
        questions.write_text(json.dumps(asked))
        done = CliRunner().invoke(app, [*command, "--questions", str(questions)])
        assert done.exit_code == code, done.output
        assert word in (tmp_path / "load.html").read_text()
