"""What is known of the request being answered: its ids, its time, and what the log and the figures will say of it."""

import asyncio
import re
import unicodedata
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

_SAFE = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(slots=True)
class Call:
    """One request on its way through the server; whoever learns something worth logging adds it to ``notes``.

    ``request_id`` is ours alone: nobody can choose or guess it, so whoever knows it was given that answer. ``offered``
    is the client's own id ("": none), which is only logged and sent back. ``client`` is its address, ``identity`` the
    name that its key or its proxy gives it ("": none was asked for). ``arrived`` is when it was complete
    (`time.perf_counter`; 0: not yet), ``blamed`` the status of a refusal for what its client did. ``clock`` is the
    deadline that runs, ``allowed`` its seconds. ``last_words`` says, on an answer that has begun, how to tell its
    client that no more will come. ``digests``: SHA-256 (hex) of each file that was uploaded, by its path.
    """

    request_id: str
    route: str
    offered: str = ""
    notes: dict[str, Any] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    clock: asyncio.Timeout | None = None
    allowed: float = 0.0
    client: str = ""
    identity: str = ""
    arrived: float = 0.0
    blamed: int = 0
    last_words: Callable[[str, int], bytes] | None = None

    @property
    def echoed(self) -> str:
        """The id to send back in headers: the client's own, or else ours."""
        return self.offered or self.request_id

    def logged(self) -> dict[str, str]:
        """The ids, for a log line."""
        return {"request_id": self.request_id} | ({"client_request_id": self.offered} if self.offered else {})

    def allow(self, seconds: float, since: float | None = None) -> None:
        """Set the deadline ``seconds`` after ``since`` (the event loop's time; default: now)."""
        self.allowed = seconds
        if self.clock is not None and not self.clock.expired():
            self.clock.reschedule((asyncio.get_running_loop().time() if since is None else since) + seconds)


CALL: ContextVar[Call] = ContextVar("call")


def current() -> Call:
    """The call that the running task answers; a fresh one outside any request."""
    found = CALL.get(None)
    return found if found is not None else begun("", "none")


def begun(offered: str, route: str) -> Call:
    """A new call; ``offered`` is kept as its client's id if it is short and plain (it goes into headers and logs)."""
    return Call(uuid.uuid4().hex, route, offered if _SAFE.fullmatch(offered) else "")


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """A text that every database, file and log takes: NUL and halves of surrogate pairs become U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


_JOINERS = "\u200c\u200d"
"""Signs without a shape that words of Persian and Indic languages, and emoji, are spelt with."""


def clean_name(name: str, most: int = 200) -> str:
    """A stranger's name for a file, fit for a log, a page and a database: Unicode (NFC) of at most ``most`` signs.

    Folders go, and so do control signs (NUL, line ends), what turns the direction of writing, halves of surrogate
    pairs, and blanks at the ends. Out: "" where nothing is left.
    """
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    short = last[: 4 * most] + last[4 * most :][-16:]
    kept = "".join(c for c in short if c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp"))
    clean = " ".join(unicodedata.normalize("NFC", kept).split())
    stem, dot, ending = clean.rpartition(".")
    if len(clean) > most and stem and len(ending) < 10:
        clean = stem[: most - len(ending) - 1] + dot + ending
    return "" if not clean.strip("." + _JOINERS) else clean[:most].rstrip()
