"""Recordings through every door of the server: OpenAI's form, v1 and v2, whole or as a stream, within their limits."""

import base64
import json
import os
import re
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
import toy_listener
from threaded import serving
from toy_listener import ToyListener, segment, wav

from serving.core.limits import Limits

OPENAI = "/openai/v1/audio/transcriptions"
V1, V2 = "/v1/models/ears:predict", "/v2/models/ears/infer"
LIMITS = Limits(deadline=5, body=20_000)
OWN = {"max_upload": 4_000_000, "max_inline": 400_000, "max_duration": 100.0, "max_uploads": 4}


@dataclass
class Live:
    url: str
    grpc: str
    toy: ToyListener
    client: httpx.Client

    def hear(self, content: bytes, name: str = "talk.wav", **fields: Any) -> httpx.Response:
        return self.client.post(OPENAI, files={"file": (name, content)}, data={"model": "ears", **fields})

    def wait_for(self, count: int) -> None:
        """Until ``count`` windows have come to the model: in its first call, or waiting for the next."""
        until = time.monotonic() + 10
        while len(sum(self.toy.calls[:1], [])) + self.waiting() < count:
            assert time.monotonic() < until
            time.sleep(0.01)

    def waiting(self) -> int:
        page = httpx.get(f"{self.url}/metrics").text
        return int(float(re.search(r'^sluice_queue_depth{revision="ears-1"} (\S+)', page, re.M)[1]))  # type: ignore[index]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    toy = ToyListener()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("uploads")))
        with serving(toy, "ears", LIMITS, own=OWN) as server:
            yield Live(server.url, server.grpc, toy, server.client)


@pytest.fixture(autouse=True)
def nothing_is_left(live: Live) -> Iterator[None]:
    """After each test no recording is open and no upload lies about."""
    yield
    live.toy.go.set()
    until = time.monotonic() + 5
    while (live.toy.held or list(Path(tempfile.gettempdir()).iterdir())) and time.monotonic() < until:
        time.sleep(0.01)
    assert not live.toy.held
    assert not list(Path(tempfile.gettempdir()).iterdir())


def test_a_form_is_answered_in_openais_formats(live: Live) -> None:
    plain = live.hear(wav(2.5)).json()
    assert plain["text"] == "level 5 level 5 level 5"
    assert plain["revision"] == "ears-1"
    assert plain["usage"] == {"type": "duration", "seconds": 2.5}
    detailed = live.hear(wav(2.5), response_format="verbose_json", language="de").json()
    assert (detailed["language"], detailed["duration"], len(detailed["segments"])) == ("de", 2.5, 3)
    assert live.hear(wav(1), response_format="text").text.strip() == "level 5"
    assert "00:00:01,000 --> 00:00:02,000" in live.hear(wav(2), response_format="srt").text
    vtt = live.hear(wav(2), response_format="vtt")
    assert vtt.text.startswith("WEBVTT")
    assert vtt.headers["content-type"].startswith("text/vtt")


def test_v1_and_v2_take_recordings_as_text_forms_and_bytes(live: Live) -> None:
    import grpc
    from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
    from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

    sound, client = wav(1.5), live.client
    coded = base64.b64encode(sound).decode()
    tensor = {"name": "audio", "datatype": "BYTES", "shape": [1]}
    v1 = [
        client.post(V1, json={"instances": [{"audio": coded, "name": "talk"}]}),
        client.post(V1, files={"file": ("talk.wav", sound)}),
        client.post(V1, content=sound, headers={"content-type": "audio/wav"}),
    ]
    texts = [answer.json()["predictions"][0]["text"] for answer in v1]
    assert [answer.json()["predictions"][0].get("name") for answer in v1] == ["talk", "talk", None]
    v2 = client.post(V2, json={"inputs": [tensor | {"data": [coded]}]}).json()["outputs"]
    texts += [output["data"][0] for output in v2 if output["name"] == "text"]
    with grpc.insecure_channel(live.grpc) as channel:
        inputs = [
            pb.ModelInferRequest.InferInputTensor(**tensor, contents=pb.InferTensorContents(bytes_contents=[sound]))
        ]
        answer = GRPCInferenceServiceStub(channel).ModelInfer(pb.ModelInferRequest(model_name="ears", inputs=inputs))
        texts += [o.contents.bytes_contents[0].decode() for o in answer.outputs if o.name == "text"]
    assert texts == ["level 5 level 5"] * 5


@pytest.mark.parametrize("name", ["timestamp_granularities", "timestamp_granularities[]"])
@pytest.mark.parametrize("asked", ["word", ["segment", "word"], '["word"]', '["segment","word"]'])
def test_granularities_come_as_fields_or_as_one_json_text(live: Live, name: str, asked: Any) -> None:
    assert "words" in live.hear(wav(1), response_format="verbose_json", **{name: asked}).json()
    assert "words" not in live.hear(wav(1), response_format="verbose_json", **{name: '["segment"]'}).json()


def test_empty_fields_of_a_form_mean_their_default(live: Live) -> None:
    empty = dict.fromkeys(("model", "language", "response_format", "temperature", "stream"), "")
    empty |= dict.fromkeys(("timestamp_granularities[]", "timestamp_granularities"), "")
    body = live.client.post(OPENAI, files={"file": ("talk.wav", wav(1))}, data=empty).json()
    assert body["text"] == "level 5"
    refused = live.hear(wav(1), timestamp_granularities='["phone"]')
    assert (refused.status_code, "expected word, segment" in refused.text) == (400, True)


def test_the_recordings_of_one_request_share_batches(live: Live) -> None:
    many = [base64.b64encode(wav(1, n / 10)).decode() for n in range(1, 9)]
    live.toy.calls.clear()
    live.toy.go.clear()
    answers: list[httpx.Response] = []
    body = {"instances": [{"audio": audio} for audio in many]}
    asking = threading.Thread(target=lambda: answers.append(live.client.post(V1, json=body)))
    asking.start()
    live.wait_for(4)
    live.toy.go.set()
    asking.join()
    assert [answer["text"] for answer in answers[0].json()["predictions"]] == [f"level {n}" for n in range(1, 9)]
    assert len(live.toy.calls) < 8


def events(response: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: ")]


def test_a_stream_tells_segments_as_they_come_and_ends_with_the_whole(live: Live) -> None:
    form = {"model": "ears", "stream": "true", "response_format": "verbose_json"}
    with live.client.stream("POST", OPENAI, files={"file": ("t.wav", wav(3))}, data=form) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer)
    assert "".join(e["delta"] for e in told if e["type"].endswith("delta")) == "level 5 level 5 level 5"
    segments = [e for e in told if e["type"].endswith("segment")]
    assert [(s["start"], s["end"], s["heard"]) for s in segments] == [(0, 1, 1), (1, 2, 2), (2, 3, 3)]
    assert told[-1]["type"] == "transcript.text.done"
    assert (told[-1]["text"], told[-1]["duration"]) == ("level 5 level 5 level 5", 3)


def test_a_stream_of_a_language_without_blanks_has_none(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_listener, "segment", lambda window, text: segment(window, "好。"))
    body = live.hear(wav(2.5), stream="true").text
    deltas = [json.loads(line[6:]).get("delta") for line in body.splitlines() if line.startswith("data: ")]
    assert deltas[:3] == ["好。"] * 3


@pytest.mark.parametrize(
    ("content", "fields", "status", "sentence"),
    [
        (b"no sound at all" * 100, {}, 415, "talk.wav"),
        (b"no sound at all" * 100, {"stream": "true"}, 415, ""),
        (b"", {}, 415, ""),
        (wav(101), {}, 413, "100 s"),
        (b"x" * 5_000_000, {}, 413, "4000000 bytes"),
        (wav(1), {"response_format": "docx"}, 400, "response_format"),
        (wav(1), {"model": "whisper-9"}, 404, "whisper-9"),
        (wav(1), {"colour": "red"}, 400, "colour"),
    ],
)
def test_what_cannot_be_heard_gets_a_status_and_a_sentence(
    live: Live, content: bytes, fields: dict[str, str], status: int, sentence: str
) -> None:
    answer = live.hear(content, **fields)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == status
    assert sentence in error["message"]
    assert not re.search(r"Traceback|Errno|/tmp|Error\(", error["message"])


def test_text_bodies_have_their_own_limit_and_other_routes_keep_theirs(live: Live) -> None:
    big = base64.b64encode(wav(10)).decode()
    answer = live.client.post(V1, json={"instances": [{"audio": big}]})
    assert (answer.status_code, "400000 bytes" in answer.json()["error"]) == (413, True)
    assert "as a file" in answer.json()["error"]
    assert live.client.post("/feedback", content=b" " * 30_000).status_code == 413
    assert live.client.post(V1, json={"instances": [{"audio": "no base64!"}]}).status_code == 400
    assert live.client.post(OPENAI, json={"file": "x"}).status_code == 400


def test_a_long_recording_holds_up_no_short_one(live: Live) -> None:
    toy, answers = live.toy, []
    toy.calls.clear()
    toy.go.clear()

    def ask(seconds: float, loud: float) -> None:
        with httpx.Client(base_url=live.url, timeout=30) as client:
            form = {"files": {"file": ("s.wav", wav(seconds, loud))}, "data": {"model": "ears"}}
            answers.append(client.post(OPENAI, **form).json()["text"])

    long, short = threading.Thread(target=ask, args=(90, 0.5)), threading.Thread(target=ask, args=(1, 0.9))
    long.start()
    while not toy.held:
        time.sleep(0.01)
    short.start()
    live.wait_for(2)
    toy.go.set()
    short.join()
    long.join()
    assert sorted(len(answer.split()) for answer in answers) == [2, 180]
    assert 9 in sum(toy.calls[:3], [])
    assert max(map(len, toy.calls)) <= 4


def test_work_stops_when_its_client_goes(live: Live) -> None:
    live.toy.seconds = 0.02
    form = {"model": "ears", "stream": "true"}
    with live.client.stream("POST", OPENAI, files={"file": ("t.wav", wav(90))}, data=form) as answer:
        next(answer.iter_lines())
    until = time.monotonic() + 5
    while live.toy.held and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.1)
    done = len(live.toy.calls)
    time.sleep(0.1)
    live.toy.seconds = 0.0
    assert not live.toy.held
    assert len(live.toy.calls) == done
    assert live.hear(wav(1)).status_code == 200


def test_figures_tell_seconds_windows_and_pace(live: Live) -> None:
    before = live.client.get("/metrics").text
    live.hear(wav(4))
    after = live.client.get("/metrics").text

    def figure(page: str, name: str) -> float:
        return float(re.search(rf'^{name}{{revision="ears-1"}} (\S+)', page, re.M)[1])  # type: ignore[index]

    names = ("sluice_audio_seconds_total", "sluice_windows_total", "sluice_real_time_factor_count")
    assert [figure(after, name) - figure(before, name) for name in names] == [4, 4, 1]


def test_a_transcript_can_be_corrected_segment_by_segment_and_the_recording_is_known_by_its_bytes(live: Live) -> None:
    from serving.feedback import corrections

    sounds = {"rivers and lakes.wav": wav(2), "\u0440\u0435\u043a\u0438.wav": wav(2, 0.4)}
    for name, sound in sounds.items():
        about = live.hear(sound, name).json()["request_id"]
        vote = {"request_id": about, "vote": "down", "correction": "level six", "start": 1.0, "end": 2.0}
        assert live.client.post("/feedback", json=vote).status_code == 200
        for wrong in ({"start": -3}, {"start": 0.3}, {"end": 9}, {"end": True}, {"request_id": f"{about[:-1]}\0"}):
            assert live.client.post("/feedback", json=vote | wrong).status_code == 400
        inline = {"instances": [{"audio": base64.b64encode(sound).decode()}]}
        answer = live.client.post(V1, json=inline).json()["predictions"][0]
        assert live.client.post("/feedback", json=vote | {"request_id": answer["request_id"]}).status_code == 200
    rows = corrections("transcription").iloc[-4:].to_dict("records")
    digests = [sha256(sound).hexdigest() for sound in sounds.values()]
    assert [row["recording"] for row in rows] == [digests[0], digests[0], digests[1], digests[1]]
    row = rows[0]
    assert (row["name"], row["start"], row["answer"], row["correction"]) == (
        "rivers and lakes",
        1,
        "level 5",
        "level six",
    )


def memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.e2e
def test_two_hours_need_no_more_memory_than_two_minutes() -> None:
    """A form of 230 MB, sent in pieces: the upload goes to disk, windows are decoded as they are asked for."""
    second = bytes(2 * 16_000)
    head = bytearray(wav(0))
    head[4:8], head[40:44] = struct.pack("<I", 36 + 7200 * len(second)), struct.pack("<I", 7200 * len(second))
    start = b'--b\r\ncontent-disposition: form-data; name="file"; filename="long.wav"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield start + bytes(head)
        for _ in range(7200):
            yield second
        yield b"\r\n--b--\r\n"

    peak = [0.0]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], memory_mb())

    limits = Limits(deadline=5)
    with serving(ToyListener(), "ears", limits) as server:
        assert server.client.post(OPENAI, files={"file": ("s.wav", wav(120))}).status_code == 200
        before = memory_mb()
        watching = threading.Thread(target=watch)
        watching.start()
        kind = {"content-type": "multipart/form-data; boundary=b"}
        answer = server.client.post(OPENAI, content=body(), headers=kind, timeout=300)
        done.set()
        watching.join()
    assert answer.json()["usage"]["seconds"] == 7200
    assert peak[0] - before < 60
