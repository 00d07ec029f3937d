"""What is known of the request being answered: its id, and what the log and the figures will say of it."""

import re
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class Call:
    """One request on its way through the server; whoever learns something worth logging adds it to ``notes``."""

    request_id: str
    route: str
    notes: dict[str, Any] = field(default_factory=dict)


CALL: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """The call that the running task answers; a fresh one outside any request."""
    found = CALL.get(None)
    return found if found is not None else Call(uuid.uuid4().hex, "none")


def request_id(offered: str | None) -> str:
    """The client's own id if it is short and plain (it goes into headers and logs), else a new one."""
    return offered if offered and _SAFE.fullmatch(offered) else uuid.uuid4().hex
