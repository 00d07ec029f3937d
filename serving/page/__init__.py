"""The page for people: plain files beside this module, served at ``/`` and ``/page/`` to browsers."""

from functools import cache
from hashlib import sha256
from importlib.resources import files

from serving.core.limits import Scope, Send

_KINDS = {"html": b"text/html", "js": b"text/javascript", "css": b"text/css"}
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"media-src blob:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)


async def send_page(scope: Scope, send: Send) -> bool:
    """Answer a GET or HEAD of the page's files; False if this is none of them.

    ``/`` is the page only for who accepts HTML: to all others it is KServe's liveness route.
    """
    headers, path = dict(scope["headers"]), scope["path"]
    if path == "/":
        if b"text/html" not in headers.get(b"accept", b""):
            return False
        path = "/page/index.html"
    found = _read(path.removeprefix("/page/")) if path.startswith("/page/") else None
    if found is None:
        return False
    kind, content, tag = found
    fresh = headers.get(b"if-none-match") == tag
    answer = [(b"content-type", kind + b"; charset=utf-8"), (b"etag", tag), (b"cache-control", b"no-cache"),
              (b"content-security-policy", _POLICY), (b"x-content-type-options", b"nosniff"),
              (b"referrer-policy", b"no-referrer"), (b"vary", b"accept")]  # fmt: skip
    if not fresh:
        answer.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": 304 if fresh else 200, "headers": answer})
    await send({"type": "http.response.body", "body": b"" if fresh or scope["method"] == "HEAD" else content})
    return True


@cache
def _read(name: str) -> tuple[bytes, bytes, bytes] | None:
    """Kind, content and tag of one of our files."""
    if name not in _names():
        return None
    content = files(__package__).joinpath(name).read_bytes()
    return _KINDS[name.rsplit(".")[-1]], content, b'"' + sha256(content).hexdigest()[:16].encode() + b'"'


@cache
def _names() -> frozenset[str]:
    return frozenset(f.name for f in files(__package__).iterdir() if f.name.rsplit(".")[-1] in _KINDS)
