"""A port with bounds on what its clients send, and on how long they take.

aiohttp waits for a head and for a body for ever. On loopback all clients look alike and none can be shut out, so who is
slow or silent gives way.
"""

import asyncio
import contextlib
import json
import logging
import ssl
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from aiohttp import StreamReader, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from serving.contract.access import allowed_hosts
from serving.laptop.admission import Stranger, check

HEAD = 65_536  # bytes of a request line with its headers
HEAD_S = 10.0  # from the connection, or from a head's first byte, to its end
SLOWEST = 20_000  # bytes a second below which a body is given up, as in the predictors
FIRST_S, PATIENCE_S = 10.0, 30.0  # how far behind that a body may be: at first, and after it was faster
BODY_S = 1800.0  # for a body, however fast
ANSWER_S = 60.0  # in which a client takes nothing of its answer
CONNECTIONS, UNFINISHED = 4096, 256  # of one client: altogether, and those that owe a head or a body
SILENT_S = 1.0  # who sent something in the last second is not silent
_LINGER_S = 3.0  # a refused connection is read on for so long: a reset would take the answer from who still sends
_SWEEP_S = 0.5

_SENTENCES = {
    408: f"the request line and headers took longer than {HEAD_S:g} s, or others were waiting",
    414: f"the request line is longer than {HEAD} bytes",
    431: f"the headers are longer than {HEAD} bytes",
}


log = logging.getLogger("sluice.laptop")


class TooSlow(TimeoutError):
    """A client that does not send its body: 408."""


class Connection(web.RequestHandler):
    """aiohttp's connection with bounds; who handles its requests calls `begin` and `end` around each."""

    # aiohttp's own has slots, and looks up hundreds of times a second what is here.
    __slots__ = ("_ahead", "_allowed", "_body", "_head", "_heard", "_last", "_over", "_owed", "_port", "_queued",
                 "_since", "_stuck", "_tail", "_unsent", "address", "handling")  # fmt: skip

    def __init__(self, port: "Port", server: web.Server, loop: asyncio.AbstractEventLoop):
        sizes: dict[str, Any] = {"max_line_size": HEAD, "max_field_size": HEAD, "access_log": None}
        super().__init__(server, loop=loop, keepalive_timeout=75, **sizes)
        self._port, self.address = port, ""
        self.handling = self._over = self._queued = False
        self._owed: float | None = None  # since when a head is owed
        self._head = self._ahead = self._heard = self._unsent = 0
        self._tail = b""
        self._body: StreamReader | None = None
        self._allowed = self._since = self._last = self._stuck = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        super().connection_made(transport)
        self._owed = self._last = self._loop.time()
        self.address = str((transport.get_extra_info("peername") or ("",))[0])
        if not self._port.add(self):
            self._over = True
            transport.abort()  # type: ignore[attr-defined]

    def connection_lost(self, exc: BaseException | None) -> None:
        """A client is gone."""
        self._port.remove(self)
        super().connection_lost(exc)

    def log_exception(self, *args: Any, **more: Any) -> None:
        """What a client sent amiss, or that it left, is its own affair and no line in our log."""
        if not isinstance(more.get("exc_info"), HttpProcessingError | ConnectionResetError):
            super().log_exception(*args, **more)

    def data_received(self, data: bytes) -> None:
        """Count bytes before anything is joined."""
        if self._over:
            return
        if data:
            self._last = self._loop.time()
            if self._body is not None and not self._body.is_eof():
                self._heard += len(data)
            elif self.handling:
                self._ahead += len(data)
                if self._ahead > HEAD:  # requests sent ahead of an answer: no client of ours does it
                    self._over = True
                    self.close()
                    return
            elif not self._queued and not self._takes_head(data):
                return
        super().data_received(data)

    def _takes_head(self, data: bytes) -> bool:
        """Count bytes of a head up to its end; False once they are too many."""
        if self._owed is None:
            self._owed = self._last
        known = self._tail + (data if self._head else data.lstrip(b"\r\n"))  # empty lines before a request are none
        end = known.find(b"\r\n\r\n")
        self._queued = end >= 0
        self._head += len(data) if end < 0 else max(0, end + 4 - len(self._tail))
        if self._head > HEAD:
            self.refuse(431 if b"\r\n" in known or self._tail else 414)
            return False
        # What has a line's end in it stays marked: after it only headers can be too long.
        self._tail = b"" if end >= 0 else known[-3:] if b"\n" in known or self._tail else b""
        return True

    def begin(self, request: web.BaseRequest) -> None:
        """A head is complete."""
        self.handling, self._queued, self._body, self._owed = True, False, request.content, None
        self._head = self._ahead = self._heard = 0
        self._allowed, self._since, self._tail = FIRST_S, self._loop.time(), b""

    def end(self) -> None:
        """It is answered; what was sent ahead is the beginning of the next one."""
        self.handling = False
        self._head, self._ahead = self._ahead, 0
        self._owed = self._loop.time() if self._head else None

    @property
    def unfinished(self) -> bool:
        """Does the client owe a head or a body?"""
        if self._over:
            return False
        return self._owed is not None or (self._body is not None and self.handling and not self._body.is_eof())

    def silent(self, now: float) -> float:
        """Seconds since the client sent anything; 0 while it is us who do not read."""
        reading = self.transport is not None and self.transport.is_reading()
        return now - self._last if reading else 0.0

    def sweep(self, now: float, seconds: float) -> None:
        """Look after ``seconds`` whether the client keeps up."""
        transport: Any = self.transport
        if transport is None or self._over or transport.is_closing():
            return
        unsent, before = transport.get_write_buffer_size(), self._unsent
        self._unsent = unsent
        self._stuck = self._stuck + seconds if unsent and unsent >= before else 0.0
        if self._stuck > ANSWER_S:
            transport.abort()
        elif self._owed is not None and now - self._owed > HEAD_S:
            self.give_up()
        elif self.handling and self._body is not None and not self._body.is_eof():
            if transport.is_reading():
                self._allowed = min(PATIENCE_S, self._allowed - seconds + self._heard / SLOWEST)
            self._heard = 0
            if self._allowed <= 0 or now - self._since > BODY_S:
                self.give_up()

    def give_up(self) -> None:
        """The client owes too much: 408, or no word to one that has never said anything."""
        if self.handling:
            if self._body is not None and self._body.exception() is None:
                self._body.set_exception(TooSlow(f"the body came slower than {SLOWEST} bytes a second"))
        elif self._head:
            self.refuse(408)
        else:
            self._over = True
            self.close()
            if self.transport is not None:
                self.transport.close()

    def refuse(self, status: int) -> None:
        """Answer a head that is not taken, and close."""
        self._over = True
        transport: Any = self.transport
        body = json.dumps({"error": _SENTENCES[status]}).encode()
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/json\r\n"
        transport.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        if transport.can_write_eof():
            transport.write_eof()
        self._loop.call_later(_LINGER_S, transport.close)


@contextlib.contextmanager
def counted(request: web.BaseRequest) -> Iterator[None]:
    """Around the handling of a request: from here to its end the connection owes a body, not a head."""
    connection: Any = request.protocol
    connection.begin(request)
    try:
        yield
    finally:
        connection.end()


class Port:
    """A listening port with all its connections, which it looks after twice a second."""

    def __init__(self) -> None:
        self._connections: set[Connection] = set()
        self._clients: Counter[str] = Counter()
        self._closed = False
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None

    async def open(self, server: web.Server, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Listen, and let ``server`` handle the requests; the port. OSError when it is taken."""
        loop, self._closed = asyncio.get_running_loop(), False
        self._listener = await loop.create_server(
            lambda: Connection(self, server, loop), host, port, backlog=1024,
            ssl=tls, ssl_handshake_timeout=HEAD_S if tls else None,
        )  # fmt: skip
        self._sweeper = loop.create_task(self._sweep())
        return int(self._listener.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Take no more connections, and leave those there are alone."""
        self._closed = True
        if self._listener is not None:
            self._listener.close()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def add(self, one: Connection) -> bool:
        """Count a connection; False when its client has too many, or the port is closed."""
        self._connections.add(one)
        self._clients[one.address] += 1
        return not self._closed and self._clients[one.address] <= CONNECTIONS

    def remove(self, one: Connection) -> None:
        """A connection is gone."""
        if one in self._connections:
            self._connections.remove(one)
            self._clients[one.address] -= 1
            if not self._clients[one.address]:
                del self._clients[one.address]

    async def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = loop.time()
            try:
                for one in list(self._connections):
                    one.sweep(now, now - before)
                for address in [a for a, number in self._clients.items() if number > UNFINISHED]:
                    self._make_room(address, now)
            except Exception:  # whatever it is, the port must not be left without bounds
                log.exception("looking after the connections failed; again in %.1f s", _SWEEP_S)
            before = now

    def _make_room(self, address: str, now: float) -> None:
        """Of one client's unfinished requests, end those that have been silent for longest."""
        owing = [one for one in self._connections if one.address == address and one.unfinished]
        if (excess := len(owing) - UNFINISHED) > 0:
            owing.sort(key=lambda one: -one.silent(now))
            for one in owing[:excess]:
                if one.silent(now) > SILENT_S:
                    one.give_up()


class Listener:
    """A port that answers requests by `handle`, of this machine's own programs and of pages that it served itself."""

    def __init__(self) -> None:
        self._server: web.Server | None = None
        self._port, self._names = Port(), allowed_hosts()

    async def listen(self, host: str, port: int) -> None:
        """Open the port; OSError when it is taken."""
        self._server = web.Server(self._guarded)
        await self._port.open(self._server, host, port)

    async def close(self) -> None:
        """Close the port after the requests under way have ended (5 s at most)."""
        self._port.close()
        await asyncio.sleep(0)  # who was just accepted is among the connections from the next turn of the loop on
        if self._server is not None:
            self._server.pre_shutdown()
            await self._server.shutdown(5)
            self._server = None

    async def _guarded(self, request: web.BaseRequest) -> web.StreamResponse:
        with counted(request):
            try:
                check(request, page=True, names=self._names)
                return await self.handle(request)
            except Stranger as stranger:
                return web.json_response({"error": str(stranger)}, status=stranger.status)
            except TooSlow as slow:
                return web.json_response({"error": str(slow)}, status=408, headers={hdrs.CONNECTION: "close"})

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raise NotImplementedError
