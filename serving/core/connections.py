"""HTTP/1.1 connections with bounds: uvicorn's own protocol, which takes a head of any size and waits for it for ever.

httptools joins the pieces of an unfinished URL or header, so that one without end costs memory, and time that grows
with its square. Bytes are counted here as they arrive, before anything is joined.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD = 65_536
"""Bytes of a request line with its headers, or of what stands around the pieces of a chunked body."""
HEAD_SECONDS = 10.0
"""From the connection, or from a head's first byte, to its end; also for the rest of a body that nobody wants."""
LINGER_SECONDS = 3.0
"""A refused connection is read on for so long, unseen: a reset would take the answer from who still sends."""
PIPELINED = 32
CONNECTIONS = 8192
"""Beyond, a new connection takes the place of one that has not said what it wants."""

_SENTENCES = {
    400: "this is not a request of HTTP/1.1",
    408: f"the request line and headers took longer than {HEAD_SECONDS:g} s",
    414: f"the request line is longer than {HEAD} bytes",
    431: f"the headers are longer than {HEAD} bytes",
}


def bounded(refused: Callable[[int], None]) -> type[HttpToolsProtocol]:
    """The protocol for `uvicorn.Config`; ``refused`` is told the status of each head that was not taken."""

    class Told(_Bounded):
        tell = staticmethod(refused)

    return Told


class _Refused(Exception):
    """Raised inside the parser, which then stops."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Bounded(HttpToolsProtocol):
    tell: Callable[[int], None]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.url = b""
        self._unread = 0  # bytes since the parser last had something whole of them
        self._size = 0  # of the piece that is being read
        self._in_head = self._in_body = self._moved = self._over = False
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= CONNECTIONS:
            silent = next((one for one in self.connections if getattr(one, "silent", False)), self)
            (transport if silent is self else silent.transport).abort()
            if silent is self:
                self._over = True
        super().connection_made(transport)
        self._wind()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    @property
    def silent(self) -> bool:
        """Whether no request is known of this connection."""
        return not self._in_body and (self.cycle is None or self.cycle.response_complete)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._unset_keepalive_if_required()
        self._size, self._moved = len(data), False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as if it had not asked for another protocol, which the parser reads nothing after.
            self._moved = self._over = True
            if self.cycle is not None:
                self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.status if isinstance(cause, _Refused) else 400)
            return
        if self._moved:
            self._unread = 0
        else:
            self._unread += len(data)
            if self._unread > HEAD:
                # Where the parser stands is known from what it has told: of headers, only of those that are whole.
                self._refuse(400 if self._in_body else 414 if not self.headers and len(self.url) > HEAD // 2 else 431)
                return
        if self._clock is None and not self._in_body and (self._in_head or (self._unread and self.silent)):
            self._wind()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._unread + self._size > HEAD:
            if len(self.url) > HEAD:
                raise _Refused(414)
            if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > HEAD:
                raise _Refused(431)
        if len(self.pipeline) >= PIPELINED:
            raise _Refused(400)
        self._in_head, self._in_body, self._moved = False, True, True
        self._stop()
        super().on_headers_complete()
        self.headers = []  # of what follows a chunked body nothing is a header of this request

    def on_body(self, body: bytes) -> None:
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body, self._moved = False, True
        self._stop()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._in_body and self._clock is None and not self.transport.is_closing():
            self._wind()

    def _wind(self) -> None:
        self._clock = self.loop.call_later(HEAD_SECONDS, self._late)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        self._clock = None
        if self._over or self.transport.is_closing():
            return
        if self._in_head:
            self._refuse(408)
        else:  # nothing was asked, or all of it is answered
            self._over = True
            self.transport.close()

    def _refuse(self, status: int) -> None:
        self._over = True
        self._stop()
        self.tell(status)
        if self.cycle is not None and not self.cycle.response_complete:
            if self.pipeline or self.cycle.response_started:
                self.transport.abort()  # an answer is under way: this one would be read as part of it
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps({"error": _SENTENCES[status]}).encode()
        headers = [*self.server_state.default_headers, (b"content-type", b"application/json"),
                   (b"content-length", str(len(body)).encode()), (b"connection", b"close"),
                   (b"x-content-type-options", b"nosniff")]  # fmt: skip
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
        self.transport.write(STATUS_LINE[status] + lines + b"\r\n" + body)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)
