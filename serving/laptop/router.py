"""The way in of one InferenceService: a streaming reverse proxy that splits requests over revisions by percent."""

import asyncio
import contextlib
import random
import re
import time
from collections.abc import Callable, Mapping

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from serving.laptop.listener import Listener

REVISION = "x-sluice-revision"
_SMALL = 1 << 16  # bodies up to this many bytes are passed on in one piece, larger and chunked ones piece by piece
# RFC 9110 7.6.1: headers meant for one hop only.
_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
_HOP |= {"upgrade", "expect"}
WAIT_S = 10.0  # a predictor that crashed is back in three to six seconds
_LOOK_S = 0.1
_WAITING = 1024  # requests at once, for one revision
# Questions to a model, in the protocols of `serving`: they change nothing, so they may be asked again.
_QUESTION = re.compile(
    r"/v1/models/[^/]+:predict|/v2/models/[^/]+(/versions/[^/]+)?/infer|/peers/[^/]+/(predict|embeddings)"
    r"|/openai/v1/(embeddings|completions|chat/completions|audio/transcriptions)"
)


class Upstream:
    """One revision as the router sees it: an address while it is ready, and the number of requests it is answering."""

    def __init__(self, revision: str, keep_alive: float = 3.0):
        self.revision = revision
        self.address: str | None = None
        self.in_flight = self._waiting = 0
        self.timeout = 300.0
        # Shorter than uvicorn's 5 s, so that the server never closes a connection that is being taken from the pool.
        self._keep_alive = keep_alive
        self._idle = asyncio.Event()
        self._idle.set()
        self._came = asyncio.Event()
        self._session: aiohttp.ClientSession | None = None

    @property
    def ready(self) -> bool:
        """Does it answer?"""
        return self._came.is_set()

    @ready.setter
    def ready(self, ready: bool) -> None:
        (self._came.set if ready else self._came.clear)()

    async def awaited(self, seconds: float) -> bool:
        """Wait until it is ready, at most ``seconds``; False at once where too many wait already."""
        if self._waiting >= _WAITING:
            return False
        self._waiting += 1
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._came.wait(), seconds)
        finally:
            self._waiting -= 1
        return True

    def enter(self) -> None:
        """A request was given to this revision."""
        self.in_flight += 1
        self._idle.clear()

    def leave(self) -> None:
        """That request's answer has ended, or failed."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()

    async def drained(self, seconds: float) -> bool:
        """Wait until no request is in flight, at most ``seconds``; False if some still are."""
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pool of connections to this revision."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=self._keep_alive, use_dns_cache=False),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=[hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE],
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=self.timeout),
                read_bufsize=1 << 18,
            )
            self._session._retry_connection = False  # aiohttp sends PUT and DELETE again; `deliver` decides that here
        return self._session

    async def close(self) -> None:
        """Drop the pool."""
        if self._session is not None:
            await self._session.close()


class Splitter:
    """Deals requests by percent: every hundred in a row holds each share exactly, in random order.

    Plain round robin would give a client with a period of ten all of the canary or none of it; independent draws
    would let a small share wander. A shuffled hundred does neither.
    """

    def __init__(self, shares: Mapping[str, int], seed: int | None = None):
        self._shares = {name: percent for name, percent in shares.items() if percent > 0}
        self._random = random.Random(seed)
        self._hand: list[str] = []

    @property
    def shares(self) -> dict[str, int]:
        """Percent by name, those above 0."""
        return dict(self._shares)

    def pick(self) -> str | None:
        """The name whose turn it is; None when there is none."""
        if len(self._shares) < 2:
            return next(iter(self._shares), None)
        if not self._hand:
            self._hand = [name for name, percent in self._shares.items() for _ in range(percent)]
            self._random.shuffle(self._hand)
        return self._hand.pop()


class Router(Listener):
    """Listens on one port and passes every request on to a revision; the table can be changed between two requests."""

    def __init__(self, service: str):
        super().__init__()
        self._service = service
        self._upstreams: dict[str, Upstream] = {}
        self._splitter = Splitter({})

    @property
    def shares(self) -> dict[str, int]:
        """Percent by revision, as requests are dealt now."""
        return self._splitter.shares

    def route(self, upstreams: Mapping[str, Upstream], shares: Mapping[str, int]) -> None:
        """From the next request on, deal by ``shares`` (percent by revision). Those under way stay where they are."""
        self._upstreams = dict(upstreams)
        if dict(shares) != self._splitter.shares:
            self._splitter = Splitter(shares)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Pass one request on to the revision whose turn it is."""
        return await deliver(self._choose, self._service, request)

    def _choose(self, before: Upstream | None) -> Upstream | None:
        """Whose turn it is; a request that waits for a revision stays with it as long as that has a share."""
        if before is not None and before.revision in self.shares and self._upstreams[before.revision] is before:
            return before
        name = self._splitter.pick()
        return None if name is None else self._upstreams[name]


async def deliver(
    choose: Callable[[Upstream | None], Upstream | None], service: str, request: web.BaseRequest, patient: bool = True
) -> web.StreamResponse:
    """Pass one request on to the revision of ``service`` that ``choose`` names; it is given the one chosen before.

    A revision that crashed is back in seconds: a request waits for it, `WAIT_S` at most, and is sent again where that
    is safe. Nothing was written: always. It was, and no answer came: once (what is asked may be what crashes it), and
    only what changes nothing, that is GET, HEAD, OPTIONS and a question to a model whose body is at hand; never a vote.
    Without ``patient`` there is no wait and no second time.
    """
    body = await _body(request)
    until = time.monotonic() + (WAIT_S if patient else 0)
    once_more = patient and repeatable(request) and not isinstance(body, aiohttp.StreamReader)
    upstream: Upstream | None = None
    while True:
        upstream = choose(upstream)
        if upstream is None:
            return refusal(503, f"{service}: no revision is ready yet; see the conditions of the InferenceService", "")
        name = upstream.revision
        answer = refusal(503, f"revision {name} of {service} is not ready; it is being restarted", name)
        if upstream.ready and upstream.address is not None:
            upstream.enter()
            try:
                return await _forward(upstream, request, body)
            except aiohttp.ClientConnectorError:
                pass  # nothing was written
            except (aiohttp.ClientError, ConnectionError):
                answer = refusal(503, f"revision {name} broke the connection: it crashed or is restarting", name)
                if not once_more:
                    return answer
                once_more = False
            finally:
                upstream.leave()
            await asyncio.sleep(_LOOK_S if patient else 0)  # that it is gone is not known yet
        gone = request.transport is None or request.transport.is_closing()
        if gone or time.monotonic() >= until or not await upstream.awaited(_LOOK_S):
            return answer


class _CutOff(Exception):
    """An answer that its revision never ended."""


def repeatable(request: web.BaseRequest) -> bool:
    """Does asking twice change no more than asking once?"""
    return request.method in ("GET", "HEAD", "OPTIONS") or bool(
        request.method == "POST" and _QUESTION.fullmatch(request.path)
    )


async def _body(request: web.BaseRequest) -> bytes | aiohttp.StreamReader | None:
    """A small body, a large one's stream, None without one."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if not request.body_exists:
        return None
    length = request.content_length
    return await request.content.read() if length is not None and length <= _SMALL else request.content


async def _forward(
    upstream: Upstream, request: web.BaseRequest, body: bytes | aiohttp.StreamReader | None
) -> web.StreamResponse:
    """Pass one request on and its answer back; what the revision's failure raises, before anything was passed back."""
    response: web.StreamResponse | None = None
    try:
        url = URL(f"{upstream.address}{request.raw_path}", encoded=True)
        async with upstream.session.request(
            request.method, url, headers=passed_on(request.headers), data=body, allow_redirects=False
        ) as answer:
            back = passed_on(answer.headers)
            back.setdefault(REVISION, upstream.revision)
            if _whole(request, answer):
                return web.Response(status=answer.status, reason=answer.reason, headers=back, body=await answer.read())
            response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=back)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
        if response is not None:
            # The head is out: breaking the connection is the only honest sign left.
            raise _CutOff(f"revision {upstream.revision} broke off in the middle of an answer") from error
        if (client := request.content.exception()) is not None:
            raise client from None  # it was not the revision
        if isinstance(error, TimeoutError):
            sentence = f"revision {upstream.revision} did not answer in {upstream.timeout:.0f} s"
            return refusal(504, sentence, upstream.revision)
        raise


def _whole(request: web.BaseRequest, answer: aiohttp.ClientResponse) -> bool:
    if request.method == "HEAD" or answer.status in (204, 304):
        return False
    length = answer.headers.get(hdrs.CONTENT_LENGTH)
    return length is not None and int(length) <= _SMALL


def passed_on(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Headers without those that are meant for one hop only."""
    named = {name.strip().lower() for name in headers.get(hdrs.CONNECTION, "").split(",")}
    return CIMultiDict((k, v) for k, v in headers.items() if (low := k.lower()) not in _HOP and low not in named)


def refusal(status: int, sentence: str, revision: str) -> web.Response:
    """An answer of the router's own: JSON ``{"error": sentence}``, to be tried again in a second."""
    headers = {"Retry-After": "1"}
    if revision:
        headers[REVISION] = revision
    return web.json_response({"error": sentence}, status=status, headers=headers)
