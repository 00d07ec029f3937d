"""Who may speak to a port of the laptop: this machine's programs, under its own name, and pages that it served itself.

A web page can send a request to any port of the machine that shows it, and by DNS rebinding under a name of its own.
"""

import hmac
import re
from collections.abc import Awaitable, Callable, Collection

from aiohttp import hdrs, web

from serving.contract.errors import SluiceError
from serving.laptop.store import Refused

HOSTS = ("127.0.0.1", "localhost")
_LOCAL = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_PORT = re.compile(r":\d{1,5}\Z")
_OPEN = {"/healthz", "/livez", "/readyz", "/peers/{name}/{path}"}


class Stranger(Exception):
    """A request that is none of this machine's own: answer with ``status`` and the sentence."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


def loopback(host: str) -> str:
    """``host`` if it is this machine's loopback address; SluiceError for any other."""
    if host not in HOSTS:
        raise SluiceError(
            f"--host {host}: who reaches the control plane can run commands, so it listens on {' or '.join(HOSTS)} "
            "only; to reach it from another machine use an SSH tunnel (ssh -L)"
        )
    return host


def check(request: web.BaseRequest, page: bool, names: Collection[str] = ()) -> None:
    """Is this a request to this machine under its own name, and not from a foreign web page? Else `Stranger`.

    ``page``: pages of this very address may ask too (Origin equal to Host); otherwise nothing in a browser may.
    ``names`` are answered to besides loopback's (see `serving.contract.access.allowed_hosts`).
    421 for an unknown Host: RFC 9110 (15.5.20) has it for a request to a name that the server does not answer for,
    which is what DNS rebinding sends. 403 for an Origin. 400 for no Host or several, as RFC 9112 (3.2) demands, and
    for a target that is no path.
    """
    hosts = request.headers.getall(hdrs.HOST, [])
    if len(hosts) != 1:
        raise Stranger(400, f"a request names one Host; this one named {len(hosts)}")
    if not _LOCAL.fullmatch(hosts[0]) and _PORT.sub("", hosts[0].lower()) not in names:
        raise Stranger(421, f"Host {hosts[0][:100]!r} is not this server; ask for 127.0.0.1 or localhost")
    if not request.raw_path.startswith("/"):
        raise Stranger(400, "the target of a request is a path that starts with '/'")
    own = {f"{scheme}://{hosts[0]}".lower() for scheme in ("http", "https")} if page else set()
    if foreign := [origin for origin in request.headers.getall(hdrs.ORIGIN, []) if origin.lower() not in own]:
        raise Stranger(403, f"a web page of {foreign[0][:100]!r} may not ask here")
    if not page and request.headers.get("Sec-Fetch-Site", "none") != "none":
        raise Stranger(403, "a web page may not ask here")


def admission(token: str) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Who may ask: this machine's programs that know the token, and no browser.

    Without the token: whether the server is up, and ``/peers/``, which leads where every port of a service does.
    """
    wanted = f"Bearer {token}".encode()

    @web.middleware
    async def admit(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        check(request, page=False)
        route = request.match_info.route.resource
        if route is None or route.canonical not in _OPEN:
            given = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="replace")
            if not hmac.compare_digest(given, wanted):
                raise Refused(401, "Unauthorized", "Unauthorized: the token in the kubeconfig is wanted")
            _media_type(request)
        return await handler(request)

    return admit


def _media_type(request: web.Request) -> None:
    """A browser sends text and forms to any server unasked, and JSON to none."""
    if request.method not in ("POST", "PUT") and not (request.method == "DELETE" and request.body_exists):
        return
    if request.content_type != "application/json":
        kind = request.headers.get(hdrs.CONTENT_TYPE, "a body without Content-Type")
        raise Refused(415, "UnsupportedMediaType", f"{kind[:100]} is not supported; send application/json")
