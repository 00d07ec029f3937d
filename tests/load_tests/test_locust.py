"""Locust against a small server of our own: what was asked is offered, what was answered is recorded."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from typer.testing import CliRunner

from load_tests.__main__ import app
from load_tests.asked import from_questions, write_asked
from load_tests.plan import Target
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
    targets = [Target("split", host, 6, 30.0), Target("canary", "http://127.0.0.1:9", 3, 10.0)]
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
    command = ["--host", host, "--slo", str(slo), "--report", str(tmp_path)]
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
    command = ["--host", host, "--slo", str(slo), "--report", str(tmp_path), "--requests", str(tmp_path / "asked")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "s of audio/s" in done.output
    found = read_samples(tmp_path / "samples.csv")
    assert dict(found.groupby("asked")["correct"].first()) == {"u0": False, "u1": True, "u2": False, "u3": True}
    assert set(found["persona"]) == {""}
