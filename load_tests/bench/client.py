"""A load generator that costs less than what it measures: keep-alive HTTP/1.1 on bare asyncio, one process of its own.

``python -m load_tests.bench.client JOB`` reads a job (JSON: url, path, bodies, clients, seconds) and prints one JSON
object with the times. Only this machine is ever called.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_CLIENTS = 1_000
MOST_SECONDS = 120.0


@dataclass(frozen=True)
class Job:
    """What to send: ``bodies`` in turn to ``url`` + ``path`` by ``clients`` that each wait for their answer."""

    url: str
    path: str
    bodies: list[str]
    clients: int
    seconds: float


@dataclass(frozen=True)
class Times:
    """What came of a job: its length in seconds, milliseconds of every answer, and how many answers were errors."""

    seconds: float
    ms: list[float]
    errors: int


class _Line(asyncio.Protocol):
    """One client: send, wait for the whole answer, note the time, send the next."""

    def __init__(self, requests: list[bytes], first: int, until: float, done: "asyncio.Future[None]") -> None:
        self._requests, self._next, self._until, self._done = requests, first, until, done
        self._buffer = bytearray()
        self._expected = -1
        self._transport: Any = None
        self._sent = 0.0
        self.times: list[float] = []
        self.errors = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._expected < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            self._expected = end + 4 + length
            if not head.startswith((b"http/1.1 200", b"http/1.0 200")):
                self.errors += 1
        if len(self._buffer) >= self._expected:
            self.times.append(time.perf_counter() - self._sent)
            self._buffer.clear()
            self._expected = -1
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self.errors += 1
            self._done.set_result(None)

    def _send(self) -> None:
        now = time.perf_counter()
        if now >= self._until:
            if not self._done.done():
                self._done.set_result(None)
            self._transport.close()
            return
        self._next = (self._next + 1) % len(self._requests)
        self._sent = now
        self._transport.write(self._requests[self._next])


async def offer(job: Job) -> Times:
    """Run the job. Errors: `ValueError` for another machine or a job out of bounds; `OSError` if nobody listens."""
    parts = urlsplit(job.url)
    if parts.hostname not in LOOPBACK:
        raise ValueError(f"{job.url}: the bench calls this machine only")
    if not (1 <= job.clients <= MOST_CLIENTS and 0 < job.seconds <= MOST_SECONDS and job.bodies):
        raise ValueError(f"a job has 1 to {MOST_CLIENTS} clients, at most {MOST_SECONDS:g} seconds, and bodies")
    requests = [_request(job.path, parts.netloc, body) for body in job.bodies]
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    lines: list[_Line] = []
    waits: list[asyncio.Future[None]] = []
    for n in range(job.clients):
        waits.append(loop.create_future())
        first = n * len(requests) // job.clients
        line = _Line(requests, first, started + job.seconds, waits[-1])
        await loop.create_connection(lambda line=line: line, parts.hostname, parts.port or 80)  # type: ignore[misc]
        lines.append(line)
    await asyncio.wait(waits, timeout=job.seconds + 30)
    seconds = time.perf_counter() - started
    ms = [round(1000 * moment, 3) for line in lines for moment in line.times]
    return Times(round(seconds, 4), ms, sum(line.errors for line in lines))


def _request(path: str, host: str, body: str) -> bytes:
    data = body.encode()
    head = [f"POST {path} HTTP/1.1", f"host: {host}", "content-type: application/json", f"content-length: {len(data)}"]
    return "\r\n".join([*head, "", ""]).encode() + data


def main() -> int:
    """Run the job whose file the command line names; print its times as JSON."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            times = runner.run(offer(job))
    except ImportError:
        times = asyncio.run(offer(job))
    print(json.dumps(asdict(times)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
