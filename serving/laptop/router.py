"""The way in of one InferenceService: a streaming reverse proxy that splits requests over revisions by percent."""

import asyncio
import random
from collections.abc import Mapping

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

REVISION = "x-sluice-revision"
_SMALL = 1 << 16  # bodies up to this many bytes are passed on in one piece, larger and chunked ones piece by piece
# RFC 9110 7.6.1: headers meant for one hop only.
_HOP = {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
_HOP |= {"upgrade", "expect"}


class Upstream:
    """One revision as the router sees it: an address while it is ready, and the number of requests it is answering."""

    def __init__(self, revision: str, keep_alive: float = 3.0):
        self.revision = revision
        self.address: str | None = None
        self.ready = False
        self.in_flight = 0
        self.timeout = 300.0
        # Shorter than uvicorn's 5 s, so that the server never closes a connection that is being taken from the pool.
        self._keep_alive = keep_alive
        self._idle = asyncio.Event()
        self._idle.set()
        self._session: aiohttp.ClientSession | None = None

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


class Listener:
    """A port that answers requests by `handle`."""

    def __init__(self) -> None:
        self._runner: web.ServerRunner | None = None

    async def listen(self, host: str, port: int) -> None:
        """Open the port; OSError when it is taken."""
        server = web.Server(self.handle, access_log=None, keepalive_timeout=75, tcp_keepalive=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=5)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port, backlog=1024).start()
        except OSError:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the port after the requests under way have ended (5 s at most)."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        raise NotImplementedError


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
        name = self._splitter.pick()
        if name is None:
            return refusal(
                503, f"{self._service}: no revision is ready yet; see the conditions of the InferenceService", ""
            )
        return await deliver(self._upstreams[name], self._service, request)


async def deliver(upstream: Upstream, service: str, request: web.BaseRequest) -> web.StreamResponse:
    """Pass one request on to one revision of ``service``; 503 while that is not ready."""
    upstream.enter()
    try:
        if not upstream.ready or upstream.address is None:
            name = upstream.revision
            return refusal(503, f"revision {name} of {service} is not ready; it is being restarted", name)
        return await _forward(upstream, request)
    finally:
        upstream.leave()


async def _forward(upstream: Upstream, request: web.BaseRequest) -> web.StreamResponse:
    """Pass one request on and its answer back; failures of the revision become 502 to 504 that name it."""
    headers = passed_on(request.headers)
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body: bytes | aiohttp.StreamReader | None = None
    if request.body_exists:
        length = request.content_length
        body = await request.content.read() if length is not None and length <= _SMALL else request.content
    response: web.StreamResponse | None = None
    try:
        url = URL(f"{upstream.address}{request.raw_path}", encoded=True)
        async with upstream.session.request(
            request.method, url, headers=headers, data=body, allow_redirects=False
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
            raise  # the head is out: breaking the connection is the only honest sign left
        if isinstance(error, TimeoutError):
            return refusal(
                504, f"revision {upstream.revision} did not answer in {upstream.timeout:.0f} s", upstream.revision
            )
        return refusal(
            503, f"revision {upstream.revision} broke the connection: it crashed or is restarting", upstream.revision
        )


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
