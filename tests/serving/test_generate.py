import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from serving.retrieval.generate import FAILURES_BEFORE_REST, Generator, Writer, citations_wrong, cited

SOURCES = [
    {"path": "a.py", "name": "pad", "text": "Pads every sequence of the batch to the longest sequence."},
    {"path": "b.py", "name": "cut", "text": "Truncation removes tokens beyond the maximum length."},
]
RESULT = {"answer": "extracted", "confidence": 0.9, "abstained": False, "sources": SOURCES}


class Endpoint(BaseHTTPRequestHandler):
    """An OpenAI-compatible endpoint that says what the test tells it to."""

    says = ""
    quotes = False
    status = 200
    asked: list[dict[str, Any]] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append({"path": self.path, "key": self.headers["Authorization"], **body})
        source = body["messages"][1]["content"].split("[1] ")[1].split("\n", 1)[1]
        says = " ".join(source.split())[:80] + " [1]." if self.quotes else self.says
        answer = json.dumps({"choices": [{"message": {"role": "assistant", "content": says}}]}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


class Outcomes(Counter[str]):
    def generated(self, outcome: str) -> None:
        self[outcome] += 1


@pytest.fixture
def endpoint() -> Iterator[tuple[type[Endpoint], str]]:
    class Own(Endpoint):
        asked: list[dict[str, Any]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Own, f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def write(url: str, result: dict[str, Any] = RESULT, times: int = 1) -> tuple[dict[str, Any], Outcomes]:
    outcomes = Outcomes()

    async def play() -> dict[str, Any]:
        writer = Writer(Generator(url, "m", "key", 3.0), outcomes)
        for _ in range(times):
            written = await writer.write({"question": "How are sequences padded?"}, result)
        await writer.close()
        return written

    return asyncio.run(play()), outcomes


def test_a_cited_answer_replaces_the_extracted_one(endpoint: Any) -> None:
    server, url = endpoint
    server.says = "The batch is padded to its longest sequence [1]."
    result, outcomes = write(url)
    assert result["answer"] == server.says
    assert (result["generated"], result["citations"]) == (True, [1])
    assert outcomes == {"written": 1}
    asked = server.asked[0]
    assert (asked["path"], asked["key"], asked["model"]) == ("/v1/chat/completions", "Bearer key", "m")
    assert "[2] b.py cut\nTruncation removes" in asked["messages"][1]["content"]


@pytest.mark.parametrize(
    "says",
    [
        "The batch is padded to its longest sequence.",
        "The batch is padded to its longest sequence [3].",
        "Quantum computers entangle photons with lasers [1].",
        "",
    ],
)
def test_an_answer_without_valid_citations_falls_back_and_is_flagged(endpoint: Any, says: str) -> None:
    server, url = endpoint
    server.says = says
    result, outcomes = write(url)
    assert result["answer"] == "extracted"
    assert result["generated"] is False
    assert "answer" in result["generator"]
    assert outcomes == {"refused": 1}


def test_a_failing_endpoint_costs_no_answer_and_is_left_alone_after_a_while(endpoint: Any) -> None:
    server, url = endpoint
    server.status = 500
    result, outcomes = write(url, times=FAILURES_BEFORE_REST + 2)
    assert result["answer"] == "extracted"
    assert outcomes == {"failed": FAILURES_BEFORE_REST + 2}
    assert len(server.asked) == FAILURES_BEFORE_REST


def test_nobody_listening_is_a_failure_like_any_other() -> None:
    result, outcomes = write("http://127.0.0.1:9/v1")
    assert (result["answer"], result["generated"]) == ("extracted", False)
    assert outcomes == {"failed": 1}


def test_an_abstention_is_never_written_over(endpoint: Any) -> None:
    server, url = endpoint
    abstained = RESULT | {"abstained": True, "answer": ""}
    assert write(url, abstained)[0] == abstained
    assert not server.asked


def test_without_a_url_results_pass_untouched() -> None:
    async def play() -> dict[str, Any]:
        return await Writer.from_environment(Outcomes()).write({"question": "?"}, RESULT)

    assert asyncio.run(play()) is RESULT


def test_the_served_model_lets_the_generator_write_from_its_own_sources(
    endpoint: Any, tiny_bundle: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving.contract.load import load
    from serving.contract.task import find_task
    from serving.core.metrics import ServerMetrics
    from serving.core.model import ServedModel
    from serving.core.options import Options
    from serving.feedback import FeedbackStore

    server, url = endpoint
    monkeypatch.setenv("SLUICE_GENERATOR_URL", url)
    metrics, feedback = ServerMetrics("r1"), FeedbackStore(f"sqlite:///{tmp_path / 'feedback.db'}")
    server.quotes = True
    questions = pd.read_parquet(tiny_data / "questions.parquet")["question"].head(20)

    async def play() -> Any:
        model = ServedModel(Options("codebase", tiny_bundle), find_task("retrieval"), metrics, feedback)
        predictor: Any = load(tiny_bundle)
        predictor.calibration = replace(predictor.calibration, threshold=0.0)  # so small a bundle is never sure
        model.serve(predictor)
        body, _ = await model({"instances": [{"question": question} for question in questions]}, {})
        await model.close()
        return body

    answers = asyncio.run(play())["predictions"]
    feedback.close()
    written = [answer for answer in answers if not answer["abstained"]]
    assert written
    assert len(server.asked) == len(written)
    for answer in written:
        assert answer["generated"] is True
        assert answer["answer"].removesuffix(" [1].") in " ".join(answer["sources"][0]["text"].split())
    assert f'sluice_generated_total{{outcome="written",revision="r1"}} {len(written)}.0' in metrics.page().decode()


def test_citations_are_read_in_every_usual_form() -> None:
    assert cited("One [2]. Two [1, 2]. Not [x] or (1).") == [2, 1]
    assert citations_wrong("Pads the batch [1][2].", "", [source["text"] for source in SOURCES]) == ""
