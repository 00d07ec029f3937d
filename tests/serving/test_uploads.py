"""Bodies of recordings: forms, JSON and bare bytes, in whatever pieces the network makes of them."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.contract.refusals import Refused
from serving.transcription.uploads import Upload, clean_name, taken


def encode(**options: Any) -> tuple[bytes, bytes]:
    """Body and content type of what httpx (and so OpenAI's client) sends."""
    request = httpx.Request("POST", "http://x", **options)
    return request.read(), request.headers.get("content-type", "").encode()


def take(body: bytes, kind: bytes = b"", size: int = 7, inline: int = 1000) -> tuple[Upload, bytes]:
    """The upload and what stood in its file, from pieces of ``size`` bytes."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]

    async def receive() -> Any:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def play() -> tuple[Upload, bytes]:
        headers = [(b"content-type", kind)] if kind else []
        async with taken({"headers": headers}, receive, inline) as upload:
            content = upload.path.read_bytes()
        assert not upload.path.exists()
        return upload, content

    return asyncio.run(play())


FILE = bytes(range(256)) * 40 + b"\r\n--tricky\r\n"


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
@pytest.mark.parametrize("typed", [None, b"", b"application/json"])
def test_a_form_is_read_whatever_the_pieces_even_when_its_type_was_dropped(size: int, typed: bytes | None) -> None:
    data = {"model": "m", "timestamp_granularities[]": ["word", "segment"], "prompt": "größe"}
    body, kind = encode(files={"file": ("talks/my talk.MP3", FILE)}, data=data)
    upload, content = take(body, kind if typed is None else typed, size)
    assert content == FILE
    assert (upload.stem, upload.form, upload.json) == ("my talk", True, None)
    assert upload.fields == {name: value if isinstance(value, list) else [value] for name, value in data.items()}


def test_json_and_bare_bytes_are_told_apart() -> None:
    assert take(b' {"instances": []}')[0].json == b' {"instances": []}'
    assert take(b"")[0].json == b""
    upload, content = take(b"RIFF" + FILE, b"application/json")
    assert (upload.json, content) == (None, b"RIFF" + FILE)


@pytest.mark.parametrize(
    ("body", "kind", "status", "sentence"),
    [
        (b"--c\r\ngarbage", b"multipart/form-data; boundary=b", 400, "form is broken"),
        (b"x", b"multipart/form-data", 400, "boundary"),
        (encode(files={"file": b"abc"})[0][:-10], b"", 400, "cut off"),
        (encode(files={"audio": b"abc"})[0], b"", 400, "0 parts 'file'"),
        (encode(files={"file": b"abc"}, data={"prompt": "x" * 70_000})[0], b"", 413, "only the part 'file'"),
        (b"{" + b" " * 2000, b"", 413, "1000 bytes"),
    ],
)
def test_a_broken_body_gets_a_sentence(body: bytes, kind: bytes, status: int, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as refused:
        take(body, kind, 1 << 16)
    assert refused.value.status == status


def form(disposition: bytes, field: bytes = b"", boundary: bytes = b"b") -> bytes:
    """A form of one file with that Content-Disposition and, where given, one more part, written by hand."""
    parts = [b"Content-Disposition: form-data; name=file" + disposition + b"\r\n\r\nRIFF", *([field] if field else [])]
    line = b"--" + boundary
    return b"".join(line + b"\r\n" + part + b"\r\n" for part in parts) + line + b"--\r\n"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        (b"; filename*=utf-7''+2AA-.ogg", "\ufffd.ogg"),
        (b"; filename*=utf-8''gr%C3%B6%C3%9Fe.ogg", "größe.ogg"),
        (b"; filename*=iso-8859-1'en'caf%E9.ogg", "café.ogg"),
        ('; filename="größe.ogg"'.encode(), "größe.ogg"),
        (b"; filename*=utf-8''%ED%A0%80%00%0d%0a%e2%80%aegpj.ogg", "\ufffd\ufffd\ufffdgpj.ogg"),
        (b'; filename="../../etc/passwd"', "passwd"),
        (b'; filename="C:\\\\talks\\\\one.wav"', "one.wav"),
        (b'; filename=".."', ""),
        (b"", ""),
    ],
)
def test_names_are_valid_text_without_control_signs_or_folders(disposition: bytes, name: str) -> None:
    upload, content = take(form(disposition), b"multipart/form-data; boundary=b", 1 << 16)
    assert (upload.name, content) == (name, b"RIFF")


def test_overlong_names_keep_their_ending_and_joiners_stay() -> None:
    assert clean_name("x" * 5000 + ".mp3") == clean_name("x" * 300 + ".mp3") == "x" * 196 + ".mp3"
    assert clean_name("می‌خواهم\u202e\x00.mp3") == "می‌خواهم.mp3"


PROMPT = b"Content-Disposition: form-data; name=prompt\r\nContent-Type: text/plain"


@pytest.mark.parametrize(
    ("body", "kind", "sentence"),
    [
        (form(b"", boundary=b"b" * 5000), b"multipart/form-data; boundary=" + b"b" * 5000, "1 to 70 plain .* 5000"),
        (form(b""), b"multipart/form-data; boundary*=x-none''b", "x-none"),
        (form(b"; filename*=x-none''a.ogg"), b"multipart/form-data; boundary=b", "'filename' .* 'x-none'"),
        (form(b"; filename*=punycode''a.ogg"), b"", "punycode"),
        (form(b"", PROMPT + b"; charset=x-none\r\n\r\nhi"), b"", "the field 'prompt' .* 'x-none'"),
    ],
)
def test_odd_charsets_and_boundaries_get_a_sentence(body: bytes, kind: bytes, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence) as refused:
        take(body, kind, 1 << 16)
    assert refused.value.status == 400


def test_a_field_is_read_in_the_charset_that_it_names() -> None:
    field = PROMPT + b"; charset=utf-16-le\r\n\r\n" + "größe".encode("utf-16-le")
    assert take(form(b"", field), b"", 1 << 16)[0].fields == {"prompt": ["größe"]}


def test_a_million_empty_fields_do_not_fit() -> None:
    part = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n"
    with pytest.raises(Refused, match="only the part 'file'"):
        take(part * 10_000, b"multipart/form-data; boundary=b", 1 << 20)


def test_an_upload_that_is_broken_off_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def play() -> None:
        async with taken({"headers": []}, receive, 10):
            raise AssertionError

    with pytest.raises(Refused, match="went away"):
        asyncio.run(play())
    assert not list(tmp_path.iterdir())
