"""OpenAI's route for recordings: the form that its clients send, and the answers that they expect, whole or as events.

https://platform.openai.com/docs/api-reference/audio/createTranscription and its streaming events. Beyond OpenAI:
``stream`` with ``verbose_json`` also sends each segment with its times as it is found.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Set
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson

from serving.contract.refusals import invalid, unknown
from serving.core.call import current
from serving.core.limits import Receive, Scope, Send, send_json
from serving.core.scripts import join
from serving.core.service import unless_gone
from serving.transcription.uploads import Upload, taken

if TYPE_CHECKING:
    from serving.transcription.service import TranscriptionService

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
BEAT_SECONDS = 10.0
"""An event stream that has nothing to say says so this often, so that no proxy takes it for dead."""
PATIENCE_SECONDS = 3.0
"""A stream begins with the first segment, so that bad media still gets a status of its own, but not later than this."""
_OWN = {"file", "model", "response_format", "stream", "timestamp_granularities[]", "timestamp_granularities"}
_OWN |= {"temperature", "include[]", "chunking_strategy"}  # taken and left aside: the model decides


async def transcribe(service: "TranscriptionService", scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one request. Errors: 400, 404, 413, 415 with a sentence."""
    model = service.model
    async with taken(scope, receive, model.limits.body) as upload:
        if not upload.form:
            raise invalid("the body must be a form (multipart/form-data) with the recording in the field 'file'")
        kind = _format_of(upload)
        if upload.first("model", model.name) != model.name:
            raise unknown(f"no model {upload.first('model')[:100]!r}; this server serves {model.name!r}")
        payload = payload_of(upload, model.inputs, _OWN)
        words = "word" in _grains(upload)
        if "word_timestamps" in model.inputs.get("properties", {}):
            payload["word_timestamps"] = words
        instance = await service.parse(payload)
        current().notes["name"] = upload.stem
        work = _stream if upload.first("stream").lower() in ("true", "1") else _whole
        await unless_gone(receive, work(_Job(service, instance, upload.stem, kind, words), send))


def payload_of(upload: Upload, schema: dict[str, Any], own: Set[str] = frozenset()) -> dict[str, Any]:
    """An instance of a form: its file as ``audio``, and the text fields that the schema names, in the schema's types.

    Fields in ``own`` are the route's business, empty ones are left out. Errors: 400 for any other field, or a value of
    the wrong type.
    """
    known = schema.get("properties", {})
    payload: dict[str, Any] = {"audio": upload.path}
    for key, values in upload.fields.items():
        name = key.removesuffix("[]")
        if name in known and name != "audio":
            if given := [value for value in values if value]:
                payload[name] = _typed(name, given, str(known[name].get("type", "string")))
        elif key not in own and name != "name":
            raise invalid(f"unknown field {key[:60]!r}; known are file, {', '.join(n for n in known if n != 'audio')}")
    return payload


class _Job:
    """One recording to be answered."""

    def __init__(
        self, service: "TranscriptionService", instance: dict[str, Any], name: str, kind: str, words: bool
    ) -> None:
        self.instance, self.kind, self.words = instance, kind, words
        self._service, self._name = service, name
        self.segments: list[dict[str, Any]] = []

    async def parts(self) -> AsyncGenerator[tuple[list[dict[str, Any]], float]]:
        """Segments as they are found, with the seconds heard so far."""
        async with aclosing(self._service.hearing.parts(self.instance)) as parts:
            async for segments, heard in parts:
                self.segments += segments
                yield segments, heard

    def result(self) -> dict[str, Any]:
        """The answer to all of it, signed."""
        result = self._service.hearing.assemble(self.instance, self.segments)
        return self._service.model.sign([self.instance], [result], [self._name])[0]


async def _whole(job: _Job, send: Send) -> None:
    async for _ in job.parts():
        pass
    result = job.result()
    if job.kind in ("json", "verbose_json"):
        await send_json(send, 200, _json(result, job.kind, job.words))
        return
    from serving.transcription.formats import write

    text = write(result, job.kind)
    kinds = {"vtt": "text/vtt", "srt": "application/x-subrip"}
    headers = [(b"content-type", f"{kinds.get(job.kind, 'text/plain')}; charset=utf-8".encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})


async def _stream(job: _Job, send: Send) -> None:
    begun = False

    async def begin() -> None:
        nonlocal begun
        if not begun:
            begun = True
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"),
                       (b"x-accel-buffering", b"no")]  # fmt: skip
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            current().last_words = _failed

    before = ""
    async with aclosing(_beating(job.parts(), PATIENCE_SECONDS, BEAT_SECONDS)) as parts:
        async for part in parts:
            await begin()
            body = b": still listening\n\n"
            if part is not None:
                segments, heard = part
                body = b"".join(map(_event, _events(segments, heard, job, before)))
                before = next((t for s in reversed(segments) if (t := s["text"].strip())), before)
            await send({"type": "http.response.body", "body": body, "more_body": True})
    await begin()
    result = job.result()
    kind = job.kind if job.kind == "verbose_json" else "json"
    done = {"type": "transcript.text.done", **_json(result, kind, job.words)}
    await send({"type": "http.response.body", "body": _event(done)})


def _events(segments: list[dict[str, Any]], heard: float, job: _Job, before: str) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for at, segment in enumerate(segments, len(job.segments) - len(segments)):
        text = segment["text"].strip()
        if not text:
            continue
        events.append({"type": "transcript.text.delta", "delta": join((before, text)).removeprefix(before)})
        before = text
        if job.kind == "verbose_json":
            event = {"type": "transcript.text.segment", "id": f"seg_{at}", "text": text, "heard": heard}
            told = ("start", "end", "confidence", "words") if job.words else ("start", "end", "confidence")
            events.append(event | {name: segment[name] for name in told if name in segment})
    return events


async def _beating(parts: AsyncGenerator[Any], patience: float, beat: float) -> AsyncGenerator[Any]:
    """What ``parts`` yields, and ``None`` whenever it has said nothing for ``beat`` seconds (first: ``patience``)."""
    step: asyncio.Task[Any] | None = None
    try:
        while True:
            step = asyncio.ensure_future(_next(parts))
            while not (await asyncio.wait({step}, timeout=patience))[0]:
                patience = beat
                yield None
            patience = beat
            part = step.result()
            if part is None:
                return
            yield part
    finally:
        if step is not None:
            step.cancel()
            await asyncio.gather(step, return_exceptions=True)
        await parts.aclose()


async def _next(parts: AsyncGenerator[Any]) -> Any:
    return await anext(parts, None)


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY) + b"\n\n"


def _failed(sentence: str, status: int) -> bytes:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return _event({"error": {"message": sentence, "type": kind, "code": status}})


def _json(result: dict[str, Any], kind: str, words: bool) -> dict[str, Any]:
    signed: dict[str, Any] = {name: result[name] for name in ("request_id", "revision", "name") if name in result}
    signed |= {"notes": result["notes"]} if result.get("notes") else {}
    usage = {"type": "duration", "seconds": round(result.get("duration", 0.0), 2)}
    if kind == "json":
        return {"text": result["text"], "usage": usage} | signed
    from serving.transcription.formats import verbose

    return verbose(result, words) | {"usage": usage} | signed


def _format_of(upload: Upload) -> str:
    kind = upload.first("response_format", "json")
    if kind not in FORMATS:
        raise invalid(f"'response_format' is {kind[:40]!r}; expected one of {', '.join(FORMATS)}")
    return kind


def _grains(upload: Upload) -> list[str]:
    """``timestamp_granularities``, as fields of that name with or without ``[]``, or as one JSON list in a text."""
    name = "timestamp_granularities"
    grains = _listed([value for key in (f"{name}[]", name) for value in upload.fields.get(key, []) if value])
    if wrong := [grain for grain in grains if grain not in ("word", "segment")]:
        raise invalid(f"{name!r} holds {str(wrong[0])[:40]!r}; expected word, segment or both")
    return grains


def _listed(values: list[str]) -> list[str]:
    """Values of a list field; one that is a JSON list of texts stands for its entries."""
    if len(values) != 1 or not values[0].lstrip().startswith("["):
        return values
    try:
        found = orjson.loads(values[0])
    except orjson.JSONDecodeError:
        return values
    return found if all(isinstance(entry, str) for entry in found) else values


def _typed(name: str, values: list[str], kind: str) -> Any:
    if kind == "array":
        return _listed(values)
    readers: dict[str, Callable[[str], Any]] = {"number": float, "integer": int, "boolean": _boolean}
    try:
        return readers.get(kind, str)(values[-1])
    except ValueError:
        raise invalid(f"{name!r} is {values[-1][:40]!r}; expected a value of type {kind}") from None


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "1")
