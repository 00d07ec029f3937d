"""The second system on our own samples: recordings in; transcript, bullets and answers out, by hand and over HTTP."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from command_line import Laptop, steps_run

pytestmark = pytest.mark.e2e
SAMPLES = Path(__file__).parents[2] / "components" / "recordings" / "samples"
SETTINGS = Path(__file__).with_name("small-lectures.yaml")
ENDPOINTS = ("lectures-transcriber", "lectures-highlights", "lectures-retriever")


def run(laptop: Laptop) -> tuple[int, str]:
    return laptop.run("run", "lectures", "--settings", str(SETTINGS), "--port", str(laptop.port))


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Laptop:
    """A laptop on which `lectures` was promoted."""
    laptop = Laptop(tmp_path_factory.mktemp("laptop"))
    code, out = run(laptop)
    assert code == 0, out + laptop.log("lectures")[-4000:]
    return laptop


@pytest.fixture(scope="module")
def served(laptop: Laptop) -> Iterator[dict[str, str]]:
    """Addresses of everything that `sluice serve` brings up, by name."""
    server = laptop.start("serve", "--port", str(laptop.port))
    try:
        addresses = {}
        assert server.stdout
        for line in server.stdout:
            if "Ctrl-C" in line:
                break
            name, _, url = line.strip().partition(": ")
            addresses[name] = url
        yield addresses
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


def sample(condition: str) -> Path:
    rows = yaml.safe_load((SAMPLES / "samples.yaml").read_text())
    return SAMPLES / next(row["file"] for row in rows if row["condition"] == condition)


def test_three_models_reach_their_endpoints_with_a_report_each(laptop: Laptop) -> None:
    for name in ENDPOINTS:
        report = (laptop.home / "reports" / f"{name}.html").read_text()
        assert "Promoted" in report and not re.search(r"<(script|link|img)[^>]+(src|href)=.?http", report)
    speech = (laptop.home / "reports" / "lectures-transcriber.html").read_text()
    assert "Word error rate" in speech or "WER" in speech


def test_nothing_changed_means_nothing_redone(laptop: Laptop) -> None:
    code, out = run(laptop)
    assert code == 0, out
    assert {step.split(": ")[-1] for step in steps_run(out)} <= {"Find champion", "Roll out", "Report"}


def test_a_recording_is_transcribed_and_summarised_from_the_command_line(laptop: Laptop) -> None:
    code, out = laptop.run("transcribe", str(sample("clean")), "--format", "srt")
    assert code == 0, out
    assert re.match(r"1\n00:00:\d\d,\d{3} --> 00:00:\d\d,\d{3}\n\S", out)
    code, out = laptop.run("summarize", str(sample("video")), "--json")
    assert code == 0, out
    found = json.loads(out)
    assert found["bullets"] and found["segments"] and found["bullets"][0]["end"] > found["bullets"][0]["start"] >= 0
    assert laptop.wait_for_none(20) == []


def test_the_graph_answers_with_transcript_segments_and_bullets(served: dict[str, str]) -> None:
    with sample("noise").open("rb") as stream:
        answer = httpx.post(served["lectures"], files={"file": ("noise.ogg", stream)}, timeout=120)
    assert answer.status_code == 200, answer.text
    result = answer.json()["predictions"][0]
    assert result["transcript"] and result["segments"] and result["bullets"]


def test_the_openai_route_streams_and_refuses_what_is_no_media(served: dict[str, str]) -> None:
    url = f"{served['lectures-transcriber']}/openai/v1/audio/transcriptions"
    fields = {"model": "lectures-transcriber", "stream": "true"}
    with sample("clean").open("rb") as stream:
        text = httpx.post(url, data=fields, files={"file": ("a.ogg", stream)}, timeout=120).text
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: {")]
    assert [event["type"] for event in events][-1] == "transcript.text.done"
    assert sum(event["type"] == "transcript.text.delta" for event in events) > 2
    refused = httpx.post(url, data={"model": "lectures-transcriber"}, files={"file": ("a.wav", b"no sound")})
    assert refused.status_code == 415 and "Traceback" not in refused.text


def test_a_question_about_one_lecture_is_answered_with_times(laptop: Laptop, served: dict[str, str]) -> None:
    code, out = laptop.run("ask", "--system", "lectures", "--only", "bread-1", "What stops the yeast?", "--json")
    assert code == 0, out
    sources = json.loads(out)["sources"]
    assert sources and {source["path"] for source in sources} == {"bread-1"}
    assert all(source["end"] > source["start"] >= 0 for source in sources)
