"""The gate in front of every route, in plain ASGI: ids, limits, deadlines, and one log line a request.

A request is refused before its body is read if too many are in flight, so a thousand at once cost a thousand headers
and no more. Bodies are counted as they stream in; Content-Length alone is never believed.
"""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import orjson

from serving.call import CALL, Call, request_id
from serving.metrics import ServerMetrics
from serving.refusals import busy, explain, failed, invalid, too_large, too_late
from serving.request_log import RequestLog

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

DRAINED_BODY = 64 << 20
"""A refused body up to this size is read and dropped, so that its sender sees the answer; beyond, the line is cut."""


@dataclass(frozen=True)
class Limits:
    """What one replica takes on: requests in flight, seconds to answer, bytes of a body, inputs of one request."""

    in_flight: int = 256
    deadline: float = 10.0
    body: int = 1_000_000
    items: int = 128


def route_of(path: str) -> str:
    """A path's label in metrics and logs: few values, whatever clients send."""
    if path == "/" or path.startswith("/v2/health/") or path.endswith("/ready"):
        return "health"
    if path.startswith("/v1/models/") and path.endswith(":predict"):
        return "v1"
    if path.startswith("/v2/models/") and path.endswith("/infer"):
        return "v2"
    return {"/openai/v1/embeddings": "embeddings", "/feedback": "feedback", "/metrics": "metrics"}.get(path, "other")


class Gate:
    """ASGI application that guards another one; see the module."""

    def __init__(self, app: App, limits: Limits, revision: str, metrics: ServerMetrics, log: RequestLog) -> None:
        self._app, self._limits, self._revision, self._metrics, self._log = app, limits, revision, metrics, log
        self._reading_and_answering = 0
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        call = Call(request_id(headers.get(b"x-request-id", b"").decode("latin-1")), route_of(scope["path"]))
        # KServe hands request headers on to the model: the id must be there even if we made it up.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"x-request-id"]
        scope["headers"].append((b"x-request-id", call.request_id.encode()))
        answer = _Answer(send, call, close=self.draining)
        token = CALL.set(call)
        try:
            if scope["method"] in ("GET", "HEAD"):
                await self._app(scope, receive, answer.send)
            else:
                await self._guarded(scope, receive, answer, headers)
        except Exception as error:
            await self._refuse(error, answer, call)
        finally:
            CALL.reset(token)
            self._finish(call, answer.code, time.perf_counter() - started)

    async def _guarded(self, scope: Scope, receive: Receive, answer: "_Answer", headers: dict[bytes, bytes]) -> None:
        limits = self._limits
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise invalid("the header Content-Length is not a number")
        if int(length) > DRAINED_BODY:
            answer.close = True
        if self._reading_and_answering >= limits.in_flight:
            raise busy(f"{limits.in_flight} requests are being answered, as many as fit")
        if int(length) > limits.body:
            raise too_large(limits.body)
        self._reading_and_answering += 1
        self._metrics.in_flight.inc()
        try:
            async with asyncio.timeout(limits.deadline):
                body = await _read(receive, limits.body, answer)
                await self._app(scope, _replay(body, receive), answer.send)
        except TimeoutError:
            raise too_late(limits.deadline) from None
        finally:
            self._reading_and_answering -= 1
            self._metrics.in_flight.dec()

    async def _refuse(self, error: Exception, answer: "_Answer", call: Call) -> None:
        refused = explain(error)
        if refused is None:
            call.notes["exception"] = "".join(traceback.format_exception(error))[-4000:]
            refused = failed(call.request_id)
        if answer.code:  # the answer had begun: nothing more can be said on this line
            return
        call.notes["error"] = str(refused)
        body = error_body(str(refused), refused.status, call, self._revision)
        headers = [(key.encode(), value.encode()) for key, value in refused.headers.items()]
        await send_json(answer.send, refused.status, body, headers)

    def _finish(self, call: Call, code: int, seconds: float) -> None:
        self._metrics.answered(code, call.route, seconds)
        if call.route in ("health", "metrics"):
            return  # probes and scrapes would drown the log
        line = {"request_id": call.request_id, "revision": self._revision, "route": call.route, "code": code}
        self._log.write(line | {"ms": round(seconds * 1000, 2)} | call.notes)


class _Answer:
    """Passes messages on to the client, with the headers that every answer carries, and remembers the code."""

    def __init__(self, send: Send, call: Call, close: bool) -> None:
        self._send, self._call, self.close, self.code = send, call, close, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code = message["status"]
            headers = [pair for pair in message.get("headers", []) if pair[0] != b"x-request-id"]
            headers.append((b"x-request-id", self._call.request_id.encode()))
            if self.close:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        await self._send(message)


def error_body(sentence: str, status: int, call: Call, revision: str) -> dict[str, Any]:
    """The body of every refusal; OpenAI's clients expect their own shape under ``error``."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error: Any = {"message": sentence, "type": kind, "code": status} if call.route == "embeddings" else sentence
    return {"error": error, "request_id": call.request_id, "revision": revision}


async def send_json(send: Send, status: int, body: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """One whole JSON answer; numpy arrays are written as lists."""
    data = body if isinstance(body, bytes) else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": data})


async def _read(receive: Receive, limit: int, answer: _Answer) -> bytes:
    """The whole body, at most ``limit`` bytes of it in memory."""
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise invalid("the client went away before its body was complete")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size <= limit:
            chunks.append(chunk)
        elif size > DRAINED_BODY:
            answer.close = True
            break
        more = message.get("more_body", False)
    if size > limit:
        raise too_large(limit)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A receive channel that yields the body once, then whatever the client's line says."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
