"""What is known of the request being answered: its id, its time, and what the log and the figures will say of it."""

import asyncio
import re
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class Call:
    """One request on its way through the server; whoever learns something worth logging adds it to ``notes``.

    ``client`` is its address, ``identity`` the name that its key or its proxy gives it ("": none was asked for).
    ``arrived`` is when it was complete (`time.perf_counter`; 0: not yet), ``blamed`` the status of a refusal for what
    its client did. ``clock`` is the deadline that runs, ``allowed`` its seconds. ``last_words`` says, on an answer that
    has begun, how to tell its client that no more will come.
    """

    request_id: str
    route: str
    notes: dict[str, Any] = field(default_factory=dict)
    clock: asyncio.Timeout | None = None
    allowed: float = 0.0
    client: str = ""
    identity: str = ""
    arrived: float = 0.0
    blamed: int = 0
    last_words: Callable[[str, int], bytes] | None = None

    def allow(self, seconds: float, since: float | None = None) -> None:
        """Set the deadline ``seconds`` after ``since`` (the event loop's time; default: now)."""
        self.allowed = seconds
        if self.clock is not None:
            self.clock.reschedule((asyncio.get_running_loop().time() if since is None else since) + seconds)


CALL: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """The call that the running task answers; a fresh one outside any request."""
    found = CALL.get(None)
    return found if found is not None else Call(uuid.uuid4().hex, "none")


def request_id(offered: str | None) -> str:
    """The client's own id if it is short and plain (it goes into headers and logs), else a new one."""
    return offered if offered and _SAFE.fullmatch(offered) else uuid.uuid4().hex
