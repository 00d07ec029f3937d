import asyncio
import io
import json
import time
from typing import Any

from serving.contract.access import EVERYBODY, Access
from serving.core.bodies import SLOWEST
from serving.core.call import current
from serving.core.limits import App, Gate, Intake, Large, Limits, Message, send_json
from serving.core.metrics import ServerMetrics
from serving.core.request_log import RequestLog

LIMITS = Limits(in_flight=2, deadline=0.3, body=100)


class Client:
    """Speaks ASGI to a gate: sends pieces of a body, keeps the answer."""

    def __init__(self, *pieces: bytes, path: str = "/v1/models/m:predict", headers: Any = ()) -> None:
        self.pieces, self.taken = list(pieces), 0
        self.scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        if self.taken == len(self.pieces):
            await asyncio.Event().wait()
        self.taken += 1
        return {"type": "http.request", "body": self.pieces[self.taken - 1], "more_body": self.taken < len(self.pieces)}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.sent[0]["headers"])

    @property
    def body(self) -> Any:
        return json.loads(self.sent[1]["body"])


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send_json(send, 200, {"bytes": len((await receive())["body"])})


def through(
    app: App, *clients: Client, limits: Limits = LIMITS, intake: Intake | None = None, access: Access = EVERYBODY
) -> tuple[str, str]:
    """Send clients through one gate at once; the log and the metrics page."""
    stream = io.BytesIO()
    metrics, log = ServerMetrics("r1"), RequestLog(stream)
    gate = Gate(
        app, limits, "r1", metrics, log, None if intake is None else lambda scope: intake, access, Large(at_once=1)
    )

    async def play() -> None:
        await asyncio.gather(*(gate(client.scope, client.receive, client.send) for client in clients))

    asyncio.run(play())
    log.close()
    return stream.getvalue().decode(), metrics.page().decode()


def test_a_body_arrives_whole_and_the_answer_names_its_request() -> None:
    client = Client(b"a" * 60, b"b" * 40, headers=[(b"x-request-id", b"mine-1")])
    log, page = through(echo, client)
    assert client.status == 200
    assert client.body == {"bytes": 100}
    line = json.loads(log)
    assert (line["revision"], line["route"], line["code"]) == ("r1", "v1", 200)
    assert 'sluice_requests_total{code="200",revision="r1",route="v1"} 1.0' in page


def test_streamed_bytes_are_counted_whatever_content_length_says() -> None:
    client = Client(*[b"x" * 50] * 3, headers=[(b"content-length", b"10")])
    through(echo, client)
    assert client.status == 413
    assert "100 bytes" in client.body["error"]


def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    client = Client(b"x" * 50, headers=[(b"content-length", b"5000")])
    through(echo, client)
    assert client.status == 413
    assert client.taken == 0


def test_a_slow_answer_and_a_slow_body_end_at_the_deadline() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(60)

    answer, body = Client(b"x"), Client()
    through(slow, answer, body)
    assert (answer.status, body.status) == (504, 408)
    assert "0.3 s" in answer.body["error"]


def test_more_than_fit_are_refused_before_their_bodies_are_read() -> None:
    async def waits(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)
        await echo(scope, receive, send)

    clients = [Client(b"x") for _ in range(5)]
    _, page = through(waits, *clients)
    assert sorted(client.status for client in clients) == [200, 200, 429, 429, 429]
    refused = next(client for client in clients if client.status == 429)
    assert refused.taken == 0
    assert refused.headers[b"retry-after"] == b"1"
    assert 'sluice_in_flight{revision="r1"} 0.0' in page


def test_large_bodies_have_places_of_their_own_and_small_ones_pass_them() -> None:
    async def waits(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            pass
        await asyncio.sleep(0.05)
        await send_json(send, 200, {})

    limits = Limits(in_flight=9, deadline=0.3, body=100)
    large = [Client(b"x" * 300, headers=[(b"content-length", b"300")]) for _ in range(3)]
    small = Client(b"x" * 50, headers=[(b"content-length", b"50")])
    endless = Client(*[b"x" * 400] * 3)
    through(waits, *large, small, limits=limits, intake=Intake(1000, streamed=True))
    assert [client.status for client in (*large, small)] == [200, 429, 429, 200]
    assert large[1].headers[b"retry-after"] == b"5"
    through(waits, endless, limits=limits, intake=Intake(1000, streamed=True))
    assert endless.status == 413


def test_who_sends_steadily_gets_the_time_that_sending_takes() -> None:
    async def takes(scope: Any, receive: Any, send: Any) -> None:
        while (await receive())["more_body"]:
            await asyncio.sleep(0.1)
        await send_json(send, 200, {})

    steady, slow = Client(*[b"x" * SLOWEST] * 5), Client(*[b"x"] * 5)
    limits = Limits(deadline=0.3, body=100)
    through(takes, steady, slow, limits=limits, intake=Intake(SLOWEST * 9, streamed=True))
    assert (steady.status, slow.status) == (200, 408)


def test_where_hosts_are_named_a_kubelet_still_reaches_a_pod_by_its_address() -> None:
    async def fine(scope: Any, receive: Any, send: Any) -> None:
        await send_json(send, 200, {})

    paths = ("/v2/models/m/ready", "/metrics", "/capabilities")
    clients = [Client(path=path, headers=[(b"host", b"10.1.2.3:8080")]) for path in paths]
    for client in clients:
        client.scope["method"] = "GET"
    log, _ = through(fine, *clients, access=Access(hosts=frozenset({"notes.example"})))
    assert [client.status for client in clients] == [200, 200, 421]
    assert "notes.example" in log


def test_an_unforeseen_failure_tells_people_an_id_and_the_log_the_details() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("the secret of /etc/passwd")

    client = Client(b"x")
    log, _ = through(broken, client)
    assert client.status == 500
    assert "secret" not in json.dumps(client.body)
    assert client.body["request_id"] in client.body["error"]
    assert "secret" in json.loads(log)["exception"]


def test_a_clients_own_id_is_sent_back_and_logged_beside_ours_which_nobody_can_choose() -> None:
    async def signed(scope: Any, receive: Any, send: Any) -> None:
        await send_json(send, 200, {"request_id": current().request_id})

    clients = [Client(b"x", headers=[(b"x-request-id", b"mine-1")]) for _ in range(2)]
    log, _ = through(signed, *clients)
    assert [client.headers[b"x-request-id"] for client in clients] == [b"mine-1"] * 2
    ours = {client.body["request_id"] for client in clients}
    assert {client.headers[b"x-sluice-request-id"].decode() for client in clients} == ours
    assert len(ours) == 2 and all(len(one) == 32 for one in ours)
    lines = [json.loads(line) for line in log.splitlines()]
    assert {line["request_id"] for line in lines} == ours
    assert {line["client_request_id"] for line in lines} == {"mine-1"}


def test_a_line_that_cannot_be_written_as_it_is_ends_neither_the_log_nor_its_neighbours() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    stream = io.BytesIO()
    log = RequestLog(stream)
    for name in ("half \ud800 a pair", 1 << 70, Odd(), {3: "a key"}, "plain", b"\xff"):
        log.write({"request_id": "r", "name": name})
    assert log.alive
    log.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line.get("name") for line in lines[:2]] == ["half \ufffd a pair", 1 << 70]
    assert lines[2] == {"request_id": "r", "log": "not written: RuntimeError"}
    assert len(lines) == 6 and lines[4]["name"] == "plain"


def test_a_log_whose_reader_comes_back_goes_on_and_counts_what_was_lost() -> None:
    class Full(io.BytesIO):
        full = True

        def write(self, data: Any) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(data)

    stream = Full()
    log = RequestLog(stream)
    log.write({"n": 1})
    while not log.lost:
        time.sleep(0.01)
    stream.full = False
    log.write({"n": 2})
    log.close()
    assert (log.lost, json.loads(stream.getvalue())["n"]) == (1, 2)


def test_an_id_that_could_break_a_log_or_a_header_is_replaced() -> None:
    client = Client(b"x", headers=[(b"x-request-id", b"a b\x01" * 100)])
    through(echo, client)
    assert len(client.headers[b"x-request-id"]) == 32
