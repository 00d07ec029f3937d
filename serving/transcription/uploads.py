"""Recordings as clients send them: forms and plain bytes, streamed to a file, never whole in memory.

A form is multipart/form-data (RFC 7578) with one part ``file`` and small text fields, as OpenAI's client and browsers
send it. The first bytes tell what a body is, for KServe's graph router calls everything JSON.
"""

import asyncio
import os
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.errors import MessageError
from email.message import Message as Header
from hashlib import sha256
from pathlib import Path
from typing import Any

from serving.contract.errors import SluiceError
from serving.contract.refusals import Refused, explain, invalid, not_ready, too_large
from serving.core.call import clean_name, current
from serving.core.limits import Receive, Scope

FIELDS = 65_536
"""Bytes of all text fields of a form together."""
_WRITE = 1 << 20
_ENOUGH = 76
"""Bytes that tell a form from anything else: two dashes, a boundary of at most 70, a line's end."""
_BOUNDARY = 70
_PART = 32
"""Bytes that a part counts for beside its name and value, so that a million empty ones do not fit."""
_CHARSET = re.compile(
    r"utf[-_]?(7|8|16|32)([-_]?[lb]e)?|us-ascii|ascii|latin-?1|(iso-8859-|windows-|cp)\d{1,4}|koi8-[ru]|tis-620"
    r"|shift[-_]jis|euc-(jp|kr)|gb(2312|k|18030)|big5",
    re.IGNORECASE,
)
"""Not all that Python knows: some decode in quadratic time, and it remembers every unknown name for ever."""


@dataclass
class Upload:
    """A recording in a file of our own, or a JSON body that may hold some; gone when its request ends.

    ``fields``: the form's text fields, each with its values in order. ``name``: the file's name at its sender, clean
    (see `clean_name`).
    """

    path: Path
    name: str = ""
    fields: dict[str, list[str]] = field(default_factory=dict)
    json: bytes | None = None
    form: bool = False

    @property
    def stem(self) -> str:
        """The file's name without folders and ending: what a lecture is called."""
        return Path(self.name).stem

    def first(self, name: str, default: str = "") -> str:
        """The first value of a field that is not empty: clients send "" for what they do not set."""
        return next((value for value in self.fields.get(name, []) if value), default)


@asynccontextmanager
async def taken(scope: Scope, receive: Receive, inline: int) -> AsyncIterator[Upload]:
    """Take a request's body: a form, a JSON object of at most ``inline`` bytes (into ``json``), or bare media.

    Errors: 400 for a broken form or one without a file, 413 for a JSON body or fields over their limit.
    """
    handle, name = tempfile.mkstemp(prefix="sluice-upload-")
    upload = Upload(_nameless(handle, Path(name)))
    try:
        with os.fdopen(handle, "wb", buffering=0) as file:
            await _take(_type_of(scope), receive, upload, _Sink(file), inline)
            yield upload
    except SluiceError as error:
        refused, ours = explain(error), f"{upload.path.name}: "
        if refused is None or not str(error).startswith(ours):
            raise
        sentence = f"{upload.name[-100:] or 'the recording'}: {str(refused).removeprefix(ours)}"
        raise Refused(refused.status, sentence, refused.headers) from error
    finally:
        Path(name).unlink(missing_ok=True)


def _nameless(handle: int, path: Path) -> Path:
    """Another path of an open file that has none any more: even a server that is killed leaves no recording behind.

    Linux only; elsewhere the file keeps its path.
    """
    open_file = Path(f"/proc/self/fd/{handle}")
    if open_file.exists():
        path.unlink()
        return open_file
    return path


async def _take(kind: Header, receive: Receive, upload: Upload, sink: "_Sink", inline: int) -> None:
    first, more = await _chunk(receive)
    while more and len(first) < _ENOUGH:
        chunk, more = await _chunk(receive)
        first += chunk
    boundary = _parameter(kind, "boundary")
    if kind.get_content_type() == "multipart/form-data" or first.startswith(b"--"):
        upload.form = True
        boundary = boundary or first.split(b"\r\n", 1)[0][2:72].decode("latin-1")
        form = _Form(boundary, upload, sink)
        write: Callable[[bytes], None] = form.write
    elif first.lstrip()[:1] in (b"{", b"[", b""):
        body = bytearray()
        write = lambda chunk: _append(body, chunk, inline)  # noqa: E731
    else:
        write = sink.write
    write(first)
    while more:
        chunk, more = await _chunk(receive)
        write(chunk)
        if sink.full:
            await asyncio.to_thread(sink.flush)
    await asyncio.to_thread(sink.flush)
    current().digests[str(upload.path)] = sink.sha.hexdigest()
    if upload.form:
        form.end()
    elif write != sink.write:
        upload.json = bytes(body)


def _parameter(header: Header, name: str, of: str = "content-type") -> str:
    """A parameter of a header as text, "" where there is none; RFC 2231's form in the charset that it names.

    Errors: 400 for a charset that is not known, or a form that is broken.
    """
    try:
        value = header.get_param(name, "", of)
    except (ValueError, TypeError, LookupError, MessageError):
        raise invalid(f'the parameter {name!r} of {of} is broken; send it as name="value"') from None
    if not isinstance(value, tuple):
        return str(value or "")
    charset, _, text = value
    return _decoded(text.encode("latin-1", "replace"), charset or "utf-8", f"the parameter {name!r} of {of}")


def _decoded(data: bytes, charset: str, what: str) -> str:
    """Bytes as text without halves of surrogate pairs; what does not fit its charset becomes U+FFFD. Errors: 400."""
    try:
        text = data.decode(charset, "replace") if _CHARSET.fullmatch(charset) else None
    except LookupError:
        text = None
    if text is None:
        raise invalid(f"{what} is in charset {ascii(charset[:40])}, which is not known here; send UTF-8")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _append(body: bytearray, chunk: bytes, limit: int) -> None:
    body += chunk
    if len(body) > limit:
        raise too_large(limit, "send a recording as a file, in a form (field 'file') or as bare bytes")


async def _chunk(receive: Receive) -> tuple[bytes, bool]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise invalid("the client went away before its body was complete")
    return message.get("body", b""), message.get("more_body", False)


def _type_of(scope: Scope) -> Header:
    header = Header()
    for name, value in scope["headers"]:
        if name == b"content-type":
            header["content-type"] = value.decode("latin-1")
    return header


class _Sink:
    """A file that is written, and its digest taken, in large pieces, off the event loop."""

    def __init__(self, file: Any) -> None:
        self._file, self._size = file, 0
        self._pieces: list[bytes] = []
        self.sha = sha256()

    @property
    def full(self) -> bool:
        return self._size >= _WRITE

    def write(self, piece: bytes) -> None:
        self._pieces.append(bytes(piece))
        self._size += len(piece)

    def flush(self) -> None:
        pieces, self._pieces, self._size = self._pieces, [], 0
        data = memoryview(b"".join(pieces))
        self.sha.update(data)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise not_ready("there is no room for this upload now; try again later, or send a smaller file") from error


class _Form:
    """Reads a form piece by piece: the part ``file`` goes to the sink, the others into ``upload.fields``."""

    def __init__(self, boundary: str, upload: Upload, sink: _Sink) -> None:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser

        if not boundary:
            raise invalid("the form has no boundary; send multipart/form-data as RFC 7578 says")
        if len(boundary) > _BOUNDARY or not (boundary.isascii() and boundary.isprintable()):
            raise invalid(f"the form's boundary must be of 1 to {_BOUNDARY} plain characters; this has {len(boundary)}")
        self._upload, self._sink, self._error = upload, sink, FormParserError
        self._name, self._is_file, self._ended, self._files, self._size = "", False, False, 0, 0
        self._header: list[bytes] = [b"", b""]
        self._headers: dict[bytes, bytes] = {}
        self._value, self._charset = bytearray(), "utf-8"
        self._parser = MultipartParser(
            boundary.encode("latin-1"),
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": lambda data, at, to: self._add(0, data[at:to]),
                "on_header_value": lambda data, at, to: self._add(1, data[at:to]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._begin,
                "on_part_data": lambda data, at, to: self._data(data[at:to]),
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> None:
        """Read on. Errors: 400."""
        try:
            self._parser.write(chunk)
        except self._error:
            raise invalid("the form is broken; send multipart/form-data as RFC 7578 says") from None

    def end(self) -> None:
        """Check that the form is whole and has its file. Errors: 400."""
        if not self._ended:
            raise invalid("the form ends before its last boundary; the upload was cut off")
        if self._files != 1:
            raise invalid(f"the form has {self._files} parts 'file'; expected one, the recording")

    def _add(self, which: int, piece: bytes) -> None:
        self._header[which] += piece

    def _header_ends(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _begin(self) -> None:
        header = Header()
        for name in ("content-disposition", "content-type"):
            header[name] = self._headers.get(name.encode(), b"").decode("utf-8", "replace")
        self._name = _parameter(header, "name", "content-disposition")
        self._is_file = self._name == "file"
        self._value, self._charset = bytearray(), _parameter(header, "charset") or "utf-8"
        if self._is_file:
            self._files += 1
            self._upload.name = clean_name(_parameter(header, "filename", "content-disposition"))
            return
        self._grow(len(self._name) + _PART)

    def _data(self, piece: bytes) -> None:
        if self._is_file:
            self._sink.write(piece)
            return
        self._grow(len(piece))
        self._value += piece

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > FIELDS:
            raise too_large(FIELDS, "only the part 'file' may be large")

    def _end_part(self) -> None:
        if not self._is_file:
            value = _decoded(bytes(self._value), self._charset, f"the field {self._name[:60]!r}")
            self._upload.fields.setdefault(self._name, []).append(value)

    def _end(self) -> None:
        self._ended = True
