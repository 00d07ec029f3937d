"""What strangers do to sockets: heads without end, bodies that never end, and who is answered meanwhile."""

import asyncio
import contextlib
import os
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.core import bodies, connections
from serving.core.limits import App, Gate, Intake, Large, Limits, Scope, send_json
from serving.core.metrics import ServerMetrics
from serving.core.options import Options
from serving.core.request_log import RequestLog
from serving.core.server import _listen, _uvicorn
from serving.core.service import unless_gone

PATH = "/v1/models/m:predict"
HALF = b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %d\r\n\r\nx"


@dataclass
class Front:
    port: int
    metrics: ServerMetrics

    def connect(self, sent: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
        line = socket.create_connection(("127.0.0.1", self.port), timeout=20, source_address=(source, 0))
        line.sendall(sent)
        return line

    def ask(self, body: bytes = b"x") -> int:
        return httpx.post(f"http://127.0.0.1:{self.port}{PATH}", content=body, timeout=20).status_code

    @property
    def at_work(self) -> float:
        return self.metrics.registry.get_sample_value("sluice_in_flight", {"revision": "r1"}) or 0.0

    def counted(self, code: int, route: str) -> float:
        labels = {"code": str(code), "route": route, "revision": "r1"}
        return self.metrics.registry.get_sample_value("sluice_requests_total", labels) or 0.0


async def echo(scope: Scope, receive: Any, send: Any) -> None:
    size, more = 0, scope["method"] == "POST"
    while more:
        message = await receive()
        size, more = size + len(message["body"]), message.get("more_body", False)
    await send_json(send, 200, {"bytes": size})


@contextlib.contextmanager
def front(limits: Limits, intake: Intake | None = None, app: App = echo, large: Large | None = None) -> Iterator[Front]:
    """The gate behind the server's own listener, in front of an application that counts bytes."""
    metrics, log = ServerMetrics("r1"), RequestLog(open(os.devnull, "wb"))  # noqa: SIM115
    gate = Gate(app, limits, "r1", metrics, log, (lambda _: intake) if intake else None, large=large)
    listener = _listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = _uvicorn(gate, Options("m", Path(), "127.0.0.1", port, grace=1, limits=limits), metrics.refused)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    try:
        yield Front(port, metrics)
    finally:
        server.should_exit = True
        thread.join(20)
        listener.close()
        log.close()
        log._stream.close()


def heard(line: socket.socket) -> bytes:
    """One answer with its body, on a line that may stay open."""
    got = b""
    while not got.endswith(b"}"):
        got += line.recv(1 << 16)
    return got


def said(line: socket.socket) -> bytes:
    """All that comes until the server closes; a reset ends it too."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := line.recv(1 << 16):
            parts.append(part)
    line.close()
    return b"".join(parts)


def flood(line: socket.socket, piece: bytes, megabytes: int) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        for _ in range(megabytes):
            line.sendall(piece)


@pytest.mark.parametrize(
    ("start", "piece", "status"),
    [
        (b"GET /", b"a" * (1 << 20), b"414"),
        (b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ", b"a" * (1 << 20), b"431"),
        (b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n", b"x-a: b\r\n" * (1 << 17), b"431"),
        (b"", b"\r\n" * (1 << 19), b"431"),
    ],
    ids=["line", "header", "headers", "nothing"],
)
def test_a_head_without_end_is_refused_and_delays_nobody(start: bytes, piece: bytes, status: bytes) -> None:
    with front(Limits()) as server:
        before, line = _memory_mb(), server.connect(start)
        flooding = threading.Thread(target=flood, args=(line, piece, 40))
        flooding.start()
        seconds = []
        for _ in range(10):
            begun = time.perf_counter()
            assert server.ask() == 200
            seconds.append(time.perf_counter() - begun)
        flooding.join()
        assert said(line).split(b" ")[1] == status
        assert statistics.median(seconds) < 0.5
        assert _memory_mb() - before < 20
        assert server.counted(int(status), "client") == 1


@pytest.mark.parametrize(
    "head",
    [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000 + b"\r\n\r\n"],
    ids=["414", "431"],
)
def test_a_head_over_64_kb_is_refused_though_it_ends(head: bytes, request: pytest.FixtureRequest) -> None:
    with front(Limits()) as server:
        assert said(server.connect(head)).split(b" ")[1].decode() == request.node.callspec.id
        answer = server.connect(
            b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\nx: %b\r\n\r\n" % (b"a" * 60_000)
        )
        assert said(answer).startswith(b"HTTP/1.1 200")


def test_a_head_has_ten_seconds_and_an_idle_connection_is_no_head(monkeypatch: pytest.MonkeyPatch) -> None:
    assert connections.HEAD_SECONDS == 10
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    whole = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    with front(Limits()) as server:
        half, silent, kept = server.connect(whole[:-2]), server.connect(), server.connect(whole)
        assert said(half).startswith(b"HTTP/1.1 408")
        assert said(silent) == b""
        assert heard(kept).startswith(b"HTTP/1.1 200")
        time.sleep(0.5)
        kept.sendall(whole)
        assert heard(kept).startswith(b"HTTP/1.1 200")
        kept.sendall(whole[:9])
        assert said(kept).startswith(b"HTTP/1.1 408")
        assert server.counted(408, "client") == 2


def test_half_sent_bodies_take_no_place_and_are_given_up() -> None:
    with front(Limits(in_flight=4, deadline=1.5)) as server:
        lines = [server.connect(HALF % 100) for _ in range(300)]
        assert [server.ask() for _ in range(5)] == [200] * 5
        assert {said(line).split(b" ")[1] for line in lines} == {b"408"}
        assert server.counted(408, "client") == 300
        assert [server.counted(code, "v1") for code in (200, 408, 429, 504)] == [5, 0, 0, 0]


def test_slow_uploads_leave_room_for_others_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SLOWEST", 1)  # all of these are fast enough, and yet none may last for hours
    limits = Limits(deadline=1, body=100, arrival=3)
    with front(limits, Intake(10_000_000, streamed=True), large=Large(at_once=2)) as server:
        slow = [server.connect(HALF % 10_000) for _ in range(3)]
        for _ in range(2):
            refused = server.connect(HALF % 10_000)
            assert heard(refused).startswith(b"HTTP/1.1 429")
            refused.close()
            other = server.connect(HALF % 5_000 + b"y" * 4_999, source="127.0.0.2")
            assert heard(other).startswith(b"HTTP/1.1 200")
            other.close()
            for line in slow:
                line.sendall(b"z")
        assert {said(line).split(b" ")[1] for line in slow} == {b"408"}
        assert server.counted(429, "client") == 2
        assert server.counted(429, "v1") == 0


def test_a_sluggish_upload_gives_its_place_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "SLOWEST", 1)
    limits = Limits(deadline=1, body=100)
    with front(limits, Intake(10_000_000, streamed=True), large=Large(at_once=2)) as server:
        slow = [server.connect(HALF % 10_000 + b"yyyy" * at) for at in (1, 2, 3)]
        time.sleep(1.2)
        assert server.ask(b"x" * 5_000) == 200
        assert b"needed its room" in said(slow[0])
        assert (server.counted(408, "client"), server.counted(429, "client")) == (1, 0)
        for line in slow[1:]:
            line.close()


def test_whoever_takes_longest_gives_way_when_bodies_fill_the_memory_kept_for_them() -> None:
    with front(Limits(), large=Large(held=300_000)) as server:
        first = server.connect(HALF % 200_000 + b"y" * 150_000)
        time.sleep(0.2)
        second = server.connect(HALF % 200_000 + b"y" * 190_000)
        assert said(first).startswith(b"HTTP/1.1 408")
        second.sendall(b"y" * 9_999)
        assert heard(second).startswith(b"HTTP/1.1 200")
        second.close()


def test_what_follows_a_chunked_body_is_bounded_and_is_no_header_of_it() -> None:
    chunked = HALF.split(b"content-length")[0] + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    with front(Limits()) as server:
        line = server.connect(chunked + b"x-request-id: forged\r\n\r\n")
        assert heard(line).startswith(b"HTTP/1.1 200")
        line.close()
        line = server.connect(chunked + b"x: ")
        flood(line, b"a" * (1 << 20), 20)
        assert not said(line).startswith(b"HTTP/1.1 200")
        assert server.ask() == 200


def test_who_does_not_read_an_answer_does_not_keep_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.core.server.UNREAD_MS", 1000)

    async def talks(scope: Scope, receive: Any, send: Any) -> None:
        async def talk() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"x" * (1 << 20), "more_body": True})
                await asyncio.sleep(0)

        await receive()
        await unless_gone(receive, talk())

    with front(Limits(deadline=300), app=talks) as server:
        line = server.connect(HALF % 1)
        until = time.monotonic() + 30
        while not server.at_work and time.monotonic() < until:
            time.sleep(0.01)
        while server.at_work and time.monotonic() < until:
            time.sleep(0.05)
        assert server.at_work == 0
        line.close()


def test_who_asks_for_another_protocol_is_answered_in_this_one_and_let_go() -> None:
    with front(Limits()) as server:
        asks = b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: %b\r\n\r\n"
        for protocol in (b"websocket", b"h2c"):
            answer = said(server.connect(asks % protocol + b"\x81\x05hello"))
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer


@pytest.mark.parametrize("length", [b"9" * 30, b"9" * 5_000, b"-1", b"1e3", b"0x10", b"1, 1"])
def test_a_length_that_is_none_is_the_clients_fault(length: bytes) -> None:
    with front(Limits()) as server:
        head = b"POST " + PATH.encode() + b" HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: %b\r\n\r\nx"
        assert said(server.connect(head % length)).startswith(b"HTTP/1.1 400")


def test_many_requests_at_once_on_one_line_are_answered_in_order_up_to_a_bound() -> None:
    one = b"GET /%d HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    with front(Limits()) as server:
        line = server.connect(b"".join(one % number for number in range(20)))
        got = b""
        while got.count(b"HTTP/1.1 200") < 20:
            got += line.recv(1 << 16)
        line.close()
        assert said(server.connect(one * 5_000)).count(b"HTTP/1.1 200") < 100
        assert server.ask() == 200


def _memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
