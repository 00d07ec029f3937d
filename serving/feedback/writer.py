"""A thread that writes rows in batches: a database that is away is waited for, a row that cannot be written is not."""

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, ProgrammingError, SQLAlchemyError, StatementError

log = logging.getLogger(__name__)
Row = dict[str, Any]
_BATCH = 1000
_LONGEST_PAUSE = 5.0
_OWN_FAULTS = re.compile("22|23|54|42804|42846")
"""SQLSTATE: the data, a constraint, a limit of the program, a type that does not fit (PostgreSQL, appendix A)."""


def own_fault(error: Exception) -> bool:
    """Whether what was to be written is at fault, rather than a database that is away, full or broken."""
    if isinstance(error, DBAPIError):
        state = getattr(error.orig, "sqlstate", None)
        if isinstance(error, ProgrammingError) and state is None:  # of the driver: it cannot pass on such a value
            return "closed" not in str(error.orig)
        return isinstance(error, DataError | IntegrityError) or bool(_OWN_FAULTS.match(state or ""))
    if isinstance(error, StatementError):
        return True
    return not isinstance(error, SQLAlchemyError | OSError | MemoryError)


class Writer:
    """Hands what is put in to ``write``, up to `_BATCH` rows at once, again and again until that succeeds.

    ``prepare`` comes before each attempt, ``clean`` once an hour. ``queue_size`` bounds what waits. Figures:
    ``dropped`` (the queue was full, or the end came first), ``rejected`` (rows set aside for their own fault),
    ``failures`` (attempts at a database that was away).
    """

    def __init__(
        self, prepare: Callable[[], object], write: Callable[[Sequence[Row]], None], clean: Callable[[], None],
        queue_size: int,
    ) -> None:  # fmt: skip
        self._prepare, self._write_rows, self._clean = prepare, write, clean
        self._queue: queue.Queue[Row] = queue.Queue(maxsize=queue_size)
        self._waiting: set[Any] = set()
        self._closing = threading.Event()
        self.dropped = self.rejected = self.failures = 0
        self._thread = threading.Thread(target=self._loop, name="feedback-writer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def behind(self) -> bool:
        """Whether rows wait."""
        return self._queue.unfinished_tasks > 0

    def put(self, row: Row) -> None:
        """Queue a row; returns at once."""
        try:
            self._waiting.add(row.get("request_id"))
            self._queue.put_nowait(row)
        except queue.Full:
            self._waiting.discard(row.get("request_id"))
            self.dropped += 1

    def holds(self, request_id: str) -> bool:
        """Whether that request's row waits."""
        return request_id in self._waiting

    def flush(self) -> None:
        """Wait until what is queued is written, 5 s at most."""
        end = time.monotonic() + 5
        while self.behind and self.alive and time.monotonic() < end:
            time.sleep(0.01)

    def close(self) -> None:
        """Write what is left, each batch at the first try or not at all, and stop."""
        self._closing.set()
        self._thread.join(timeout=10)

    def _loop(self) -> None:
        clean_at = time.monotonic()
        while not (self._closing.is_set() and self._queue.empty()):
            batch: list[Row] = []
            try:
                if batch := self._next_batch():
                    self._write(batch)
                    if time.monotonic() >= clean_at:
                        clean_at = time.monotonic() + 3600
                        self._clean()
            except Exception as error:  # nothing may end this thread: all later votes would be lost
                self.failures += 1
                log.warning("feedback: %s", ascii(error)[:500])
            for row in batch:
                self._waiting.discard(row.get("request_id"))
                self._queue.task_done()

    def _next_batch(self) -> list[Row]:
        try:
            batch = [self._queue.get(timeout=0.2)]
        except queue.Empty:
            return []
        self._closing.wait(0.05)
        while len(batch) < _BATCH:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return batch

    def _write(self, batch: list[Row]) -> None:
        """Write a batch. One that fails for the fault of a row is halved, and halved again, until that row is alone."""
        waiting, pause = [batch], 1.0
        while waiting:
            rows, last, prepared = waiting.pop(), self._closing.is_set(), False
            try:
                self._prepare()
                prepared = True
                self._write_rows(rows)
                pause = 1.0
            except Exception as error:
                if prepared and own_fault(error):
                    waiting += self._halves(rows, error)
                    continue
                self.failures += 1
                log.warning("feedback: %d rows not written yet: %s", len(rows), ascii(error)[:500])
                waiting.append(rows)
                if last:
                    self.dropped += sum(map(len, waiting))
                    return
                self._closing.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)

    def _halves(self, rows: list[Row], error: Exception) -> list[list[Row]]:
        if len(rows) > 1:
            half = len(rows) // 2
            return [rows[half:], rows[:half]]
        self.rejected += 1
        log.warning("feedback: set aside request %s: %s", ascii(rows[0].get("request_id")), ascii(error)[:500])
        return []
