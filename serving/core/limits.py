"""The gate in front of every route, in plain ASGI: ids, limits, deadlines, and one log line a request.

A request is refused before its body is read if too many are in flight, so a thousand at once cost a thousand headers
and no more. Only what is complete is in flight: `serving.core.bodies` has what is still arriving.
"""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from serving.contract.access import EVERYBODY, OPEN, Access
from serving.contract.refusals import explain, failed, invalid, too_large, too_late
from serving.contract.task import all_tasks, limit
from serving.core.bodies import DRAINED_BODY, Room, Turn
from serving.core.call import CALL, Call, begun, current
from serving.core.metrics import ServerMetrics
from serving.core.request_log import RequestLog

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Limits:
    """What one replica takes on, whatever its task: see each flag's text."""

    in_flight: int = limit(256, "--max-in-flight", "requests at once; beyond, 429")
    deadline: float = limit(10.0, "--deadline", "seconds to answer; beyond, 504")
    body: int = limit(1_000_000, "--max-body", "bytes of a body; beyond, 413")
    items: int = limit(128, "--max-items", "inputs in one request")
    arrival: float = limit(1800.0, "--max-arrival", "seconds for any body to come; beyond, 408")


@dataclass(frozen=True)
class Intake:
    """How a route takes its body: at most ``limit`` bytes; ``streamed`` to the handler, or whole.

    ``mend``: what to do about a larger one.
    """

    limit: int
    streamed: bool = False
    mend: str = "send fewer or shorter inputs"


@dataclass(frozen=True)
class Large:
    """What bodies above ``Limits.body`` may take up: how many are worked on, bytes in memory, what people call them."""

    at_once: int = 8
    held: int = 280_000_000
    called: str = "large bodies"


def route_of(path: str) -> str:
    """A path's label in metrics and logs: few values, whatever clients send."""
    if path == "/" or path.startswith("/v2/health/") or path.endswith("/ready"):
        return "health"
    if path.startswith("/v1/models/") and path.endswith(":predict"):
        return "v1"
    if path.startswith("/v2/models/") and path.endswith("/infer"):
        return "v2"
    if path.startswith("/peers/"):
        return "peers"
    return _own_routes().get(path, "other")


@cache
def _own_routes() -> dict[str, str]:
    routes = {route.path: route.label for task in all_tasks() for route in task.routes}
    return routes | {"/feedback": "feedback", "/metrics": "metrics"}


@cache
def _openai_labels() -> frozenset[str]:
    return frozenset(label for path, label in _own_routes().items() if path.startswith("/openai/"))


class Gate:
    """ASGI application that guards another one; see the module."""

    def __init__(
        self,
        app: App,
        limits: Limits,
        revision: str,
        metrics: ServerMetrics,
        log: RequestLog,
        intake: Callable[[Scope], Intake] | None = None,
        access: Access = EVERYBODY,
        large: Large | None = None,
    ) -> None:
        """``intake`` tells of a request how its body is taken; by default whole, at most ``limits.body`` bytes."""
        self._app, self._limits, self._revision, self._metrics, self._log = app, limits, revision, metrics, log
        self._intake = intake or (lambda scope: Intake(limits.body))
        self._room = Room(limits, large or Large(), metrics.in_flight)
        self._access, self.draining = access, False
        self._known: set[bytes | None] = set()  # hosts that are ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request, whatever happens inside."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = dict(scope["headers"])
        if len(headers) < len(scope["headers"]):  # two names are none
            headers[b"host"] = b", ".join(value for name, value in scope["headers"] if name == b"host")
        call = begun(headers.get(b"x-request-id", b"").decode("latin-1"), route_of(scope["path"]))
        # KServe hands request headers on to the model: the id must be there even if we made it up.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"x-request-id"]
        scope["headers"].append((b"x-request-id", call.request_id.encode()))
        answer = _Answer(send, call, close=self.draining)
        token = CALL.set(call)
        try:
            self._admit(scope, headers, call)
            if scope["method"] in ("GET", "HEAD"):
                await self._app(scope, receive, answer.send)
            else:
                await self._guarded(scope, receive, answer, headers)
        except Exception as error:
            await self._refuse(error, answer, call)
        finally:
            CALL.reset(token)
            self._finish(call, answer.code, time.perf_counter() - (call.arrived or started))

    def _admit(self, scope: Scope, headers: dict[bytes, bytes], call: Call) -> None:
        access, peer = self._access, str((scope.get("client") or ("",))[0])
        call.client = access.client(peer, headers.get(b"x-forwarded-for", b"").decode("latin-1"))
        probe = scope["method"] in ("GET", "HEAD") and OPEN.fullmatch(scope["path"])
        host = headers.get(b"host")
        if (access.local or not probe) and (host not in self._known or b"origin" in headers):  # kubelets use addresses
            access.check_host(headers)
            if len(self._known) < 64:  # of a name there may be as many as there are ports
                self._known.add(host)
        if access.closed and not probe:
            call.identity = call.notes["identity"] = access.identity(peer, headers)

    async def _guarded(self, scope: Scope, receive: Receive, answer: "_Answer", headers: dict[bytes, bytes]) -> None:
        limits, intake, call = self._limits, self._intake(scope), current()
        length = headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise invalid("the header Content-Length is not a number")
        if int(length) > DRAINED_BODY:
            answer.close = True
        large = intake.limit > limits.body and (int(length) > limits.body or b"content-length" not in headers)
        self._room.check(large)
        if int(length) > intake.limit:
            raise too_large(intake.limit, intake.mend)
        turn = Turn(self._room, call, answer, intake, large)
        call.allowed = limits.deadline
        try:
            async with asyncio.timeout(limits.deadline) as call.clock:
                await self._app(scope, await turn.body(receive), answer.send)
        except TimeoutError:
            raise too_late(call.allowed) if call.arrived else turn.late from None
        finally:
            call.clock = None
            turn.end()

    async def _refuse(self, error: Exception, answer: "_Answer", call: Call) -> None:
        refused = explain(error)
        if refused is None:
            call.notes["exception"] = "".join(traceback.format_exception(error))[-4000:]
            refused = failed(call.request_id)
        call.notes["error"] = str(refused)
        call.blamed = refused.status if refused.blamed else 0
        answer.close = answer.close or refused.status == 408
        if answer.code:  # the answer had begun: an error can only be said in its own terms, or by cutting the line
            if call.last_words is not None:
                last = call.last_words(str(refused), refused.status)
                await answer.send({"type": "http.response.body", "body": last})
            return
        body = error_body(str(refused), refused.status, call, self._revision)
        headers = [(key.encode(), value.encode()) for key, value in refused.headers.items()]
        await send_json(answer.send, refused.status, body, headers)

    def _finish(self, call: Call, code: int, seconds: float) -> None:
        if call.blamed:
            self._metrics.refused(code := call.blamed)
        else:
            self._metrics.answered(code, call.route, seconds)
        if call.route in ("health", "metrics"):
            return  # probes and scrapes would drown the log
        line = call.logged() | {"revision": self._revision, "route": call.route, "code": code}
        self._log.write(line | {"ms": round(seconds * 1000, 2)} | call.notes)


class _Answer:
    """Passes messages on to the client, with the headers that every answer carries, and remembers the code."""

    def __init__(self, send: Send, call: Call, close: bool) -> None:
        self._send, self._call, self.close, self.code = send, call, close, 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code = message["status"]
            headers = [pair for pair in message.get("headers", []) if pair[0] != b"x-request-id"]
            if not any(name == b"content-security-policy" for name, _ in headers):  # the page has its own
                headers += _INERT
            headers.append((b"x-request-id", self._call.echoed.encode()))
            if self._call.offered:  # answers that are no JSON have no other place for the id that feedback names
                headers.append((b"x-sluice-request-id", self._call.request_id.encode()))
            if self.close:
                headers.append((b"connection", b"close"))
            message["headers"] = headers
        await self._send(message)


_INERT = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"), (b"x-content-type-options", b"nosniff")
]  # fmt: skip
"""A browser that opens an answer runs nothing of it."""


def error_body(sentence: str, status: int, call: Call, revision: str) -> dict[str, Any]:
    """The body of every refusal; OpenAI's clients expect their own shape under ``error``."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    error: Any = {"message": sentence, "type": kind, "code": status} if call.route in _openai_labels() else sentence
    return {"error": error, "request_id": call.request_id, "revision": revision}


async def send_json(send: Send, status: int, body: Any, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """One whole JSON answer; numpy arrays are written as lists."""
    data = body if isinstance(body, bytes) else orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    start = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode()), *(headers or [])]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": data})
