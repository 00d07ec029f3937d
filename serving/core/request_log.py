"""One JSON line a request on stdout, written by a thread so that a slow reader of the log delays no answer."""

import json
import sys
import threading
import time
from collections import deque
from typing import Any, BinaryIO

import orjson

from serving.core.call import storable

KEPT = 10_000
EVERY_SECONDS = 0.1


class RequestLog:
    """Lines wait in memory, at most `KEPT` (the oldest go first, and the log says how many went).

    Figures for metrics: ``lost`` (lines that nobody can read any more: too many, or a stream that takes none).
    """

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdout.buffer
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._dropped = self.lost = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="request-log", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether lines are still written."""
        return self._thread.is_alive()

    def write(self, line: dict[str, Any]) -> None:
        """Queue one line; ``at`` (epoch seconds) is added."""
        line["at"] = round(time.time(), 3)
        if len(self._lines) == KEPT:
            self._dropped += 1
            self.lost += 1
        self._lines.append(line)

    def close(self) -> None:
        """Write what waits, then stop."""
        self._stop.set()
        self._thread.join(timeout=2)

    def _loop(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append({"level": "warning", "message": f"{dropped} log lines were dropped"})
        if not lines:
            return
        try:
            self._stream.write(b"".join(map(_line, lines)))
            self._stream.flush()
        except Exception:  # a full disk, a reader that went away: serving goes on, and later lines may get through
            self.lost += len(lines)


def _line(line: dict[str, Any]) -> bytes:
    """The line as JSON, whatever a stranger has put into it."""
    try:
        return orjson.dumps(line, default=str) + b"\n"
    except Exception:  # half a surrogate pair, a number over 64 bits: slower, but it takes all
        try:
            return storable(json.dumps(line, default=str, ensure_ascii=False, skipkeys=True)).encode() + b"\n"
        except Exception as error:
            known = {name: line.get(name) for name in ("request_id", "route", "code") if line.get(name)}
            return json.dumps(known | {"log": f"not written: {type(error).__name__}"}, default=repr).encode() + b"\n"
