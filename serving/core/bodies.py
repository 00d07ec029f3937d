"""Bodies on their way in: whole or as a stream, at a minimum rate, and never more of them than fit.

A body that is still arriving holds no place among the requests that are worked on. It holds memory or a file; whoever
is slow gives way.
"""

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from prometheus_client import Gauge

from serving.contract.refusals import Refused, busy, crowded, gone, slow, too_large
from serving.core.call import Call

if TYPE_CHECKING:
    from serving.core.limits import Intake, Large, Limits, Message, Receive

DRAINED_BODY = 64 << 20
"""A refused body up to this size is read and dropped, so that its sender sees the answer; beyond, the line is cut."""
SLOWEST = 20_000
"""Bytes a second below which a body is given up: 2 hours of speech at 32 kbit/s then take half an hour to arrive."""
SLUGGISH = 10
"""Below so many times that rate a large body gives way to others when all places are taken."""
STALL_SECONDS = 30.0
"""The longest pause, however fast the rest was."""


class Room:
    """What one server takes on: large bodies on their way, bytes of those that are gathered, requests at work."""

    def __init__(self, limits: "Limits", large: "Large", at_work: Gauge) -> None:
        """``at_work`` shows how many requests are."""
        self.limits, self._many = limits, large
        self._bytes = 0
        self._arriving: dict[_Arrival, None] = {}  # the oldest first
        self._large: Counter[str] = Counter()
        self._working, self._gauge = 0, at_work
        self._places = asyncio.Semaphore(large.at_once)

    def check(self, large: bool) -> None:
        """Is there a place at work? Errors: 429, before a body is read."""
        if self._working >= self.limits.in_flight:
            raise busy(f"{self.limits.in_flight} requests are being answered, as many as fit")
        if large and self._places.locked():
            raise self._full()

    async def work(self, call: Call, large: bool) -> None:
        """The body is complete: take a place at work; a large one waits for it.

        Errors: 429 where no place gets free in time.
        """
        call.arrived = time.perf_counter()
        if self._working >= self.limits.in_flight:
            self.check(False)
        if large:
            call.allow(2 * self.limits.deadline)
            try:
                async with asyncio.timeout(self.limits.deadline):
                    await self._places.acquire()
            except TimeoutError:
                raise self._full() from None
        self._working += 1
        self._gauge.inc()

    def rest(self, large: bool) -> None:
        """Give back what `work` took."""
        self._working -= 1
        self._gauge.dec()
        if large:
            self._places.release()

    def begin(self, arrival: "_Arrival") -> None:
        """Count a body; a large one may take the place of one that is sluggish, and no client all places of others.

        Errors: 429 where large ones have no place left.
        """
        if arrival.large:
            everybody, called = 2 * self._many.at_once, self._many.called
            one, client = everybody - self._many.at_once // 2, arrival.call.client
            if self._large[client] >= one and not self._gives_way(client):
                raise crowded(f"{one} {called} are on their way from your address, as many as one client may send")
            if self._large.total() >= everybody and not self._gives_way():
                raise busy(f"{everybody} {called} are on their way, as many as fit", 5)
            self._large[client] += 1
        self._arriving[arrival] = None

    def hold(self, arrival: "_Arrival", size: int) -> None:
        """``size`` more bytes are in memory; where they do not fit the body that takes longest is given up."""
        if arrival not in self._arriving:
            return
        arrival.held += size
        self._bytes += size
        while self._bytes > self._many.held:
            oldest = next((one for one in self._arriving if one.held), arrival)
            if oldest is arrival:
                raise slow(arrival.no_room)
            self._bytes -= oldest.give_up()

    def end(self, arrival: "_Arrival") -> None:
        """The body is complete, or was given up."""
        if arrival in self._arriving:
            del self._arriving[arrival]
            self._bytes -= arrival.held
            if arrival.large:
                self._large[arrival.call.client] -= 1
                self._large += Counter()  # forget those who have none

    def _gives_way(self, client: str | None = None) -> bool:
        """End the slowest of large bodies (of ``client``), if it has had time to be faster and is not."""
        now = asyncio.get_running_loop().time()
        rates = {
            one: rate
            for one in self._arriving
            if one.large and client in (None, one.call.client)
            if one.age(now) > self.limits.deadline and (rate := one.size / one.age(now)) < SLUGGISH * SLOWEST
        }
        if not rates:
            return False
        slowest = min(rates, key=rates.__getitem__)
        self.end(slowest)
        slowest.give_up()
        return True

    def _full(self) -> Refused:
        return busy(f"{self._many.at_once} {self._many.called} are being worked on, as many as fit", 5)


class Turn:
    """One request from its head to its answer; ``answer`` is told to close the line where a rest is not worth reading.

    ``large`` bodies have places of their own.
    """

    def __init__(self, room: Room, call: Call, answer: Any, intake: "Intake", large: bool) -> None:
        self._room, self._call, self._answer, self._intake, self._large = room, call, answer, intake, large
        self._arrival: _Arrival | None = None
        self._working = False

    async def body(self, receive: "Receive") -> "Receive":
        """A channel with the body: whole, or as it comes. Errors: 408, 413, 429, 499."""
        if self._large or self._intake.streamed:
            self._arrival = self._arrives()
        if self._intake.streamed:
            return self._stream(receive)
        chunk, more = await _next(receive)
        if more or self._arrival is not None:
            self._arrival = self._arrival or self._arrives()
            chunk = await self._arrival.whole(receive, chunk, more)
        elif len(chunk) > self._intake.limit:
            raise too_large(self._intake.limit)
        await self._work()
        return _replay(chunk, receive)

    @property
    def late(self) -> Refused:
        """Why a body is not waited for any longer."""
        limits = self._room.limits
        if self._arrival is not None and self._arrival.given_up:
            return slow(self._arrival.no_room)
        pace = f"the body came too slowly: at least {SLOWEST} bytes/s are expected"
        return slow(f"{pace}, none for {limits.deadline:g} s at first, and all in {limits.arrival:g} s")

    def end(self) -> None:
        """The request was answered, or refused."""
        if self._arrival is not None:
            self._room.end(self._arrival)
        if self._working:
            self._room.rest(self._large)

    def _arrives(self) -> "_Arrival":
        arrival = _Arrival(self._room, self._call, self._answer, self._intake, self._large)
        self._room.begin(arrival)
        return arrival

    async def _work(self) -> None:
        if self._arrival is not None:
            self._room.end(self._arrival)
        await self._room.work(self._call, self._large)
        self._working = True
        if self._arrival is not None:  # else the clock that runs has only just begun
            self._call.allow(self._room.limits.deadline)

    def _stream(self, receive: "Receive") -> "Receive":
        async def piece() -> "Message":
            if self._working or self._arrival is None:
                return await receive()
            message = await self._arrival.piece(receive)
            if not message["more_body"]:
                await self._work()
            return message

        return piece


class _Arrival:
    """One body that was not there at once."""

    def __init__(self, room: Room, call: Call, answer: Any, intake: "Intake", large: bool) -> None:
        self.call, self.large, self.held, self.given_up = call, large, 0, False
        self._room, self._answer, self._intake = room, answer, intake
        self.size, self._started = 0, asyncio.get_running_loop().time()
        self.no_room = "the body arrived slowly, and another one needed its room; send it again, faster"

    async def whole(self, receive: "Receive", chunk: bytes, more: bool) -> bytes:
        """The whole body, at most ``intake.limit`` bytes of it in memory. Errors: 408, 413, 499."""
        body, limit = bytearray(), self._intake.limit  # a list of single bytes would take forty times as much
        while True:
            self._took(len(chunk))
            if self.size <= limit:
                body += chunk
                self._room.hold(self, len(chunk))
            if not more or self.size > max(limit, DRAINED_BODY):
                break
            chunk, more = await _next(receive)
        if self.size > limit:
            self._answer.close = self._answer.close or more
            raise too_large(limit, self._intake.mend)
        return bytes(body)

    async def piece(self, receive: "Receive") -> "Message":
        """The next message of a body that is handed on as it comes. Errors: 408, 413, 499."""
        chunk, more = await _next(receive)
        self._took(len(chunk))
        if self.size > self._intake.limit:
            self._answer.close = self._answer.close or self.size > DRAINED_BODY
            raise too_large(self._intake.limit, self._intake.mend)
        return {"type": "http.request", "body": chunk, "more_body": more}

    def age(self, now: float) -> float:
        """Seconds since its head."""
        return now - self._started

    def give_up(self) -> int:
        """End it as too slow; the bytes that it held."""
        freed, self.held, self.given_up = self.held, 0, True
        self.call.allow(0)
        return freed

    def _took(self, size: int) -> None:
        self.size += size
        if not self.given_up:
            now, limits = asyncio.get_running_loop().time(), self._room.limits
            paced = self._started + limits.deadline + self.size / SLOWEST
            until = min(paced, now + max(STALL_SECONDS, limits.deadline), self._started + limits.arrival)
            self.call.allow(until - now)


async def _next(receive: "Receive") -> tuple[bytes, bool]:
    try:
        message = await receive()
    except (RuntimeError, OSError):  # uvicorn would say "100 Continue" on a line that is closed already
        message = {"type": "http.disconnect"}
    if message["type"] == "http.disconnect":
        raise gone("the client went away before its body was complete")
    return message.get("body", b""), message.get("more_body", False)


def _replay(body: bytes, receive: "Receive") -> "Receive":
    """A receive channel that yields the body once, then whatever the client's line says."""
    sent = False

    async def again() -> "Message":
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
