"""The way in of one InferenceGraph: takes a request, walks the graph, gives back the last answer."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import aiohttp
from aiohttp import hdrs, web
from multidict import CIMultiDict
from yarl import URL

from serving.laptop.graph.body import Body
from serving.laptop.graph.steps import Answer, Step, Unroutable, Walk
from serving.laptop.listener import Listener, TooSlow
from serving.laptop.router import passed_on

# Of a step's answer, what its user needs: which revision answered, under which id, when to come back.
_BACK = {"content-type", "retry-after", "x-request-id", "x-sluice-revision"}
# A page of the graph's address is foreign to its steps.
_OWN = {"host", "content-length", "origin"}


class Target(NamedTuple):
    """Where a step's questions go, and where a browser finds the page of what answers them."""

    url: str
    page: str


class Front(Listener):
    """Listens on one port; ``nodes`` and ``timeout`` (s, None: no limit) may be changed between two requests.

    ``where`` gives an InferenceService's target, None while it is not there.
    """

    def __init__(self, where: Callable[[str], Target | None]):
        super().__init__()
        self.nodes: Mapping[str, Any] = {}
        self.timeout: float | None = None
        self._where = where
        self._session: aiohttp.ClientSession | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """POST runs the graph, whatever the path. A browser's GET is sent on to the first service: it has the page."""
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return self._elsewhere(request)
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = Body()
        try:
            body = await Body.gather(request.content)
            walk = Walk(self.nodes, lambda step, given: self._call(step, given, body, request.headers))
            answer = await walk.node("root", body)
            headers = {k: v for k, v in answer.headers.items() if k.lower() in _BACK}
            return web.Response(status=answer.status, body=answer.body, headers=headers)
        except Unroutable as error:
            return _failed(error.status, error.cause)
        except TooSlow:
            raise
        except OSError as error:
            return _failed(507, f"the request cannot be kept: {error}")
        finally:
            body.close()

    async def close(self) -> None:
        """Close the port and the connections to the services."""
        await super().close()
        if self._session is not None:
            await self._session.close()

    async def _call(self, step: Step, body: Body, first: Body, given: Mapping[str, str]) -> Answer:
        headers = passed_on(given)
        for name in _OWN:
            headers.pop(name, None)
        if body is not first:  # made of an answer, whatever the request was
            headers.pop(hdrs.CONTENT_ENCODING, None)
            headers[hdrs.CONTENT_TYPE] = "application/json"
        headers.setdefault(hdrs.CONTENT_TYPE, "application/json")
        headers[hdrs.CONTENT_LENGTH] = str(body.size)
        url = self._url(step)
        try:
            timeout = aiohttp.ClientTimeout(total=self.timeout, sock_connect=5)
            async with self._pool().post(
                url, data=body.send(), headers=headers, timeout=timeout, allow_redirects=False
            ) as answer:
                return Answer(answer.status, await answer.read(), CIMultiDict(answer.headers))
        except TimeoutError:
            raise Unroutable(504, f"{url.host} did not answer step {step.get('name', '')!r} in time") from None
        except (aiohttp.ClientError, ConnectionError) as error:
            raise Unroutable(500, f"{url} cannot be reached: {error}") from None

    def _url(self, step: Step) -> URL:
        if step.get("serviceUrl"):
            return URL(step["serviceUrl"])
        found = self._where(step["serviceName"])
        if found is None:
            raise Unroutable(503, f"service {step['serviceName']} is not ready")
        return URL(found.url)

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3),
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=[hdrs.USER_AGENT, hdrs.ACCEPT, hdrs.ACCEPT_ENCODING],
            )
        return self._session

    def _elsewhere(self, request: web.BaseRequest) -> web.Response:
        step = next(_leaves(self.nodes, "root"), None)
        found = self._where(step["serviceName"]) if step and step.get("serviceName") else None
        address = found.page if found else (step or {}).get("serviceUrl", "")
        if not address:
            return _failed(503, "the first service of this graph is not ready")
        place = URL(address)
        if place.host == "127.0.0.1":  # then under the name the browser used for us
            place = place.with_host(request.url.host or place.host)
        return web.Response(status=307, headers={hdrs.LOCATION: f"{place.origin()}{request.raw_path}"})


def _leaves(nodes: Mapping[str, Any], name: str) -> Any:
    for step in nodes.get(name, {}).get("steps", ()):
        if step.get("nodeName"):
            yield from _leaves(nodes, step["nodeName"])
        else:
            yield step


def _failed(status: int, cause: str) -> web.Response:
    """The router's own error, in KServe's words."""
    headers = {"Retry-After": "1"} if status == 503 else {}
    text = json.dumps({"error": "Failed to process request", "cause": cause})
    return web.Response(status=status, text=text, content_type="application/json", headers=headers)
