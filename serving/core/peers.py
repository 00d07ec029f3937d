"""Sibling services under the page's own origin: a browser may ask the retriever through the transcriber's address.

No open proxy: only services that ``--peers`` or SLUICE_PEERS names, only the routes below, bodies under the server's
own limit.
"""

import os
from typing import Any

from serving.contract.access import bearer
from serving.contract.errors import SluiceError
from serving.contract.refusals import Refused, not_ready, unknown
from serving.contract.task import all_tasks
from serving.core.call import current
from serving.core.limits import Scope, Send

ROUTES = {
    ("POST", "predict"): "/v1/models/{name}:predict",
    ("POST", "feedback"): "/feedback",
    ("GET", "capabilities"): "/capabilities",
}
"""Those of every model; tasks have their own, of which a peer offers what its task does."""
PREFIX = "/peers/"


def addresses(names: tuple[str, ...], text: str) -> dict[str, str]:
    """Base URLs of peers. ``text`` is a URL with ``{name}`` in it, for each of ``names``, or a list a=url,b=url.

    Errors: `SluiceError` for anything else.
    """
    if not text or "{name}" in text:
        return {name: text.replace("{name}", name).rstrip("/") for name in names if text}
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name and url.startswith("http") for name, _, url in pairs):
        raise SluiceError(f"SLUICE_PEERS={text!r}: expected a URL with {{name}} in it, or name=url,name=url")
    return {name.strip(): url.rstrip("/") for name, _, url in pairs}


class Peers:
    """Passes requests on to the services at ``urls``, given up after ``seconds``."""

    def __init__(self, urls: dict[str, str], seconds: float) -> None:
        self.names = tuple(urls)
        self._urls, self._seconds = urls, seconds
        own = {("POST", route.label): route.path for task in all_tasks() for route in task.routes if route.peers}
        self._routes = ROUTES | own
        self._client: Any = None

    @classmethod
    def from_environment(cls, names: tuple[str, ...], seconds: float) -> "Peers":
        """Those that ``names`` and SLUICE_PEERS tell of."""
        return cls(addresses(names, os.environ.get("SLUICE_PEERS", "")), seconds)

    async def answer(self, scope: Scope, body: bytes, send: Send) -> None:
        """Answer ``/peers/<name>/<route>``. Errors: 404 for any other name or route, 503 where the peer is away."""
        method, path = scope["method"], scope["path"]
        name, _, route = path.removeprefix(PREFIX).partition("/")
        if name not in self.names:
            raise unknown(f"no peer {name[:60]!r}; there are {', '.join(self.names) or 'none'}")
        if (method, route) not in self._routes:
            raise unknown(f"no such route of a peer; there are {', '.join(f'{m} {r}' for m, r in self._routes)}")
        key = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        answer = await self._ask(name, method, self._routes[method, route].format(name=name), body, key)
        kept = ("content-type", "retry-after", "www-authenticate")
        headers = [(key.encode(), value.encode()) for key, value in answer.headers.items() if key.lower() in kept]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content})

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, name: str, method: str, path: str, body: bytes, key: str) -> Any:
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(timeout=self._seconds, trust_env=False, follow_redirects=False)
        call = current()
        # Who votes through us is not us, where the peer trusts this server's word (SLUICE_TRUSTED_PROXIES).
        headers = {"x-request-id": call.request_id, "x-forwarded-for": ascii(call.client)[1:-1]}
        headers |= {"content-type": "application/json"} if body else {}
        # The asker's own key, so that the peer knows who asks; who came in by a proxy's word has none to show.
        headers |= {"Authorization": key} if key else bearer()
        try:
            return await self._client.request(method, self._urls[name] + path, content=body or None, headers=headers)
        except httpx.TimeoutException:
            raise Refused(504, f"peer {name!r} did not answer in {self._seconds:g} s") from None
        except httpx.HTTPError:
            raise not_ready(f"peer {name!r} does not answer; it may not be deployed yet") from None
