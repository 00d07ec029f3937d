"""Inputs that may last hours: cut into windows that take turns with everybody else's on the one model.

A `Listener` is asked window by window instead of instance by instance, so that a recording of two hours holds up none
of five seconds, needs no more memory, and stops when its client goes away.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from typing import Any, Protocol

from prometheus_client import Counter, Histogram

from serving.contract.predictor import Predictor
from serving.contract.refusals import Refused
from serving.core.call import current
from serving.core.metrics import ServerMetrics
from serving.core.model import ServedModel
from serving.media import Leash, length, start

KIND = "transcribe"
"""The batcher's name for this work."""
PACES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_OPEN = 12
"""Recordings that are open at once, each with a decoder of its own; others wait for their turn."""


class Window(Protocol):
    """One piece of a recording: seconds from its beginning, and whatever the predictor needs to read it."""

    start: float
    end: float


class Listener(Predictor, Protocol):
    """A predictor whose instances are recordings in ``audio``.

    ``parse`` then takes a `pathlib.Path` or bytes there as well as base64 text, and reads no sound yet.
    """

    def windows(self, instance: dict[str, Any]) -> Iterator[Window]:
        """The windows of a parsed instance, decoded as they are asked for. Errors: `SluiceError` for broken media."""

    def transcribe(self, windows: list[Any]) -> list[list[dict[str, Any]]]:
        """Segments (text, start and end in seconds of the recording, …) of windows of any recordings, in one batch."""

    def assemble(self, instance: dict[str, Any], segments: list[dict[str, Any]]) -> dict[str, Any]:
        """The result of a whole recording, shaped as the bundle's output schema."""


class Figures:
    """What a server tells of recordings: seconds and windows heard, and how long a second of sound takes."""

    def __init__(self, metrics: ServerMetrics) -> None:
        make = metrics.make
        self._seconds = make(Counter, "sluice_audio_seconds", "Seconds of recordings heard")
        self._windows = make(Counter, "sluice_windows", "Windows of recordings heard")
        text = "Seconds of work a second of sound, waiting too"
        self._paces = make(Histogram, "sluice_real_time_factor", text, buckets=PACES)

    def heard(self, seconds: float, windows: int) -> None:
        """``seconds`` of a recording were heard, in ``windows``."""
        self._seconds.inc(seconds)
        self._windows.inc(windows)

    def pace(self, seconds: float, took: float) -> None:
        """A whole recording of ``seconds`` was answered after ``took`` seconds."""
        if seconds > 0:
            self._paces.observe(took / seconds)


class Hearing:
    """Runs recordings through a model's batches; one for each server."""

    def __init__(self, predictor: Listener, model: ServedModel, figures: Figures) -> None:
        self._predictor, self._model, self._figures = predictor, model, figures
        # Half a batch at most for one recording: the other half is for those who come in the meantime.
        self._group = max(1, model.max_batch // 2)
        # A thread for each, for it only waits for its decoder: one that stands still holds up no other.
        self._decoders = ThreadPoolExecutor(_OPEN, thread_name_prefix="decode")
        self._open = asyncio.Semaphore(_OPEN)
        start()

    async def each(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The results of some recordings, as many at once as fit a batch. Errors: as `all`."""
        slots = asyncio.Semaphore(self._model.max_batch)

        async def one(instance: dict[str, Any]) -> dict[str, Any]:
            async with slots:
                return await self.all(instance)

        tasks = [asyncio.ensure_future(one(instance)) for instance in instances]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def all(self, instance: dict[str, Any]) -> dict[str, Any]:
        """The result of a whole recording. Errors: `SluiceError` for media that cannot be read or last too long."""
        found: list[dict[str, Any]] = []
        async with aclosing(self.parts(instance)) as parts:
            async for segments, _ in parts:
                found += segments
        return self.assemble(instance, found)

    def assemble(self, instance: dict[str, Any], segments: list[dict[str, Any]]) -> dict[str, Any]:
        """See `Listener.assemble`."""
        return self._predictor.assemble(instance, segments)

    async def parts(self, instance: dict[str, Any]) -> AsyncGenerator[tuple[list[dict[str, Any]], float]]:
        """Segments as they are found, with the seconds heard so far. Errors: as `all`."""
        loop, leash, decoding = asyncio.get_running_loop(), Leash(self._model.own.duration), None
        started, heard, count = loop.time(), 0.0, 0
        async with self._open:
            try:
                seconds = await loop.run_in_executor(self._decoders, leash.run, self._measure, instance["audio"])
                own = self._model.own
                current().allow(self._model.limits.deadline + own.pace * (seconds or own.duration))
                waiting: asyncio.Queue[Any] = asyncio.Queue(self._group)
                decoding = loop.create_task(self._decode(instance, waiting, leash))
                size = 1  # the first words come soon, the rest in larger groups
                while group := await _take(waiting, size):
                    found = await self._model.submit(KIND, group)
                    for window, segments in zip(group, found, strict=True):
                        heard, count = max(heard, float(window.end)), count + 1
                        yield segments, heard
                    size = min(2 * size, self._group)
                self._figures.pace(heard, loop.time() - started)
            finally:
                leash.cut()  # whatever a decoder is doing for a client that has gone, it ends now
                if decoding is not None:
                    decoding.cancel()
                    await asyncio.gather(decoding, return_exceptions=True)
                self._figures.heard(heard, count)
                notes = current().notes
                notes["audio_seconds"] = round(notes.get("audio_seconds", 0) + heard, 2)
                notes["windows"] = notes.get("windows", 0) + count

    def close(self) -> None:
        """Stop the decoding threads."""
        self._decoders.shutdown(wait=False, cancel_futures=True)

    def _measure(self, audio: Any) -> float | None:
        """Seconds that the container claims; ``None`` where it does not say, or claims what cannot be."""
        seconds = length(audio, self._model.own.duration)
        if math.isnan(seconds):
            return None
        self._check(seconds)
        return seconds

    def _check(self, seconds: float) -> None:
        if seconds > self._model.own.duration:
            limit = self._model.own.duration
            raise Refused(413, f"the recording lasts {seconds:.0f} s; at most {limit:g} s are taken, so cut it first")

    async def _decode(self, instance: dict[str, Any], waiting: "asyncio.Queue[Any]", leash: Leash) -> None:
        """Put windows into the queue as it has room, at the end ``None``, or the error that ended it."""
        windows: Any = None
        step: Future[Any] | None = None
        try:
            windows = self._predictor.windows(instance)
            while True:
                step = self._decoders.submit(leash.run, next, windows, None)
                window = await asyncio.wrap_future(step)
                if window is not None:
                    self._check(window.end)
                await waiting.put(window)
                if window is None:
                    return
        except Exception as error:
            await waiting.put(error)
        finally:
            close = getattr(windows, "close", None)
            if step is not None and close is not None:
                step.add_done_callback(lambda _: close())  # not while a thread is still inside it


async def _take(waiting: "asyncio.Queue[Any]", most: int) -> list[Any]:
    """Those that are there, at least one and at most ``most``; none at the end. Raises the error that ended them."""
    group: list[Any] = []
    while not group or (len(group) < most and not waiting.empty()):
        window = await waiting.get()
        if isinstance(window, Exception):
            raise window
        if window is None:
            if group:
                waiting.put_nowait(None)  # for the next time that somebody asks
            break
        group.append(window)
    return group
