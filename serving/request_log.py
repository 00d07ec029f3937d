"""One JSON line a request on stdout, written by a thread so that a slow reader of the log delays no answer."""

import sys
import threading
import time
from collections import deque
from typing import Any, BinaryIO

import orjson

KEPT = 10_000
EVERY_SECONDS = 0.1


class RequestLog:
    """Lines wait in memory, at most `KEPT` (the oldest go first, and the log says how many went)."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self._stream = stream or sys.stdout.buffer
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._dropped = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="request-log", daemon=True)
        self._thread.start()

    def write(self, line: dict[str, Any]) -> None:
        """Queue one line; ``at`` (epoch seconds) is added."""
        line["at"] = round(time.time(), 3)
        if len(self._lines) == KEPT:
            self._dropped += 1
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
        if self._dropped:
            lines.append({"level": "warning", "message": f"{self._dropped} log lines were dropped"})
            self._dropped = 0
        if lines:
            try:
                self._stream.write(b"".join(orjson.dumps(line, default=str) + b"\n" for line in lines))
                self._stream.flush()
            except (OSError, ValueError):  # nobody reads the log any more: serving goes on
                self._stop.set()
