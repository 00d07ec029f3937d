"""A thread that pushes running totals of items to Feast's push sources, as users vote and read."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC
from functools import cache
from typing import Any

import httpx

from serving.contract.task import all_tasks
from serving.feedback.answers import Item
from serving.feedback.tables import COUNTS, utc_now

log = logging.getLogger(__name__)
Totals = list[tuple[str, int, int, int]]
_CHUNK = 1000


@cache
def _sources() -> dict[str, str]:
    """The push source of each entity that has one."""
    return {one.entity: one.push for task in all_tasks() for one in task.features if one.push}


class Pusher:
    """Pushes ``totals`` (of an entity's items) that changed to the feature server at ``server``; "" turns it off.

    A vote's totals are pushed at once, "shown" totals every ``every_s``. Figures: ``failures``, ``pushed``, and
    ``refused``, the items that the server will not have.
    """

    def __init__(self, server: str, totals: Callable[[str, Sequence[str]], Totals], every_s: float) -> None:
        self._server, self._totals, self._every_s = server.rstrip("/"), totals, every_s
        self._pending_lock, self._push_lock = threading.Lock(), threading.Lock()
        self._voted: set[Item] = set()
        self._shown: set[Item] = set()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._client = httpx.Client(timeout=5, trust_env=False)
        self.failures = self.pushed = self.refused = 0
        self._thread = threading.Thread(target=self._loop, name="feedback-push", daemon=True)
        if self._server:
            self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs, or is not needed."""
        return not self._server or self._thread.is_alive()

    def shown(self, items: Iterable[Item]) -> None:
        """These were shown."""
        if self._server:
            with self._pending_lock:
                self._shown.update(items)

    def voted(self, items: Iterable[Item]) -> None:
        """These were voted on."""
        if self._server:
            with self._pending_lock:
                self._voted.update(items)
            self._wake.set()

    def flush(self) -> None:
        """Push every changed total now."""
        if self._server:
            self._push(shown_too=True)

    def close(self) -> None:
        """Stop the thread."""
        self._closing.set()
        self._wake.set()
        if self._server:
            self._thread.join(timeout=10)
        self._client.close()

    def _loop(self) -> None:
        due = time.monotonic() + self._every_s
        while not self._closing.is_set():
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._wake.clear()
            shown_too = time.monotonic() >= due
            if shown_too:
                due = time.monotonic() + self._every_s
            self._push(shown_too)
            self._closing.wait(0.2)

    def _push(self, shown_too: bool) -> None:
        """Push running totals of items that changed; those that fail are kept for the next time."""
        with self._push_lock:
            with self._pending_lock:
                wanted = self._voted | (self._shown if shown_too else set())
                self._voted -= wanted
                self._shown -= wanted
            waiting: list[list[Item]] = []
            for entity in sorted({entity for entity, _ in wanted} & _sources().keys(), reverse=True):
                items = sorted(item for item in wanted if item[0] == entity)
                waiting += [items[at : at + _CHUNK] for at in range(0, len(items), _CHUNK)][::-1]
            later: list[Item] = []
            while waiting:
                chunk = waiting.pop()
                try:
                    entity = chunk[0][0]
                    self._post(entity, self._totals(entity, [item_id for _, item_id in chunk]))
                    self.pushed += len(chunk)
                except Exception as error:
                    waiting, later = self._failed(chunk, waiting, later, error)
            with self._pending_lock:
                self._shown.update(later)

    def _failed(
        self, chunk: list[Item], waiting: list[list[Item]], later: list[Item], error: Exception
    ) -> tuple[list[list[Item]], list[Item]]:
        """What to push next, and what later. A row that the server refuses is found by halves, and left out."""
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0
        if status in (400, 422) and len(chunk) > 1:
            half = len(chunk) // 2
            return [*waiting, chunk[half:], chunk[:half]], later
        self.failures += 1
        log.warning("feedback: totals of %d items not pushed: %s", len(chunk), ascii(error)[:300])
        if status in (400, 422):
            self.refused += 1
            return waiting, later
        if status:  # the others may still be taken
            return waiting, later + chunk
        return [], later + chunk + [one for rest in waiting for one in rest]

    def _post(self, entity: str, rows: Totals) -> None:
        """POST /push, to the online store only: the offline file is rebuilt from this database by each pipeline run.

        (Feast's DuckDB store appends by rewriting the whole file in place, which a reader may meet half-way.)
        """
        if not rows:
            return
        frame: dict[str, list[Any]] = {entity: [row[0] for row in rows]}
        frame["event_timestamp"] = [utc_now().replace(tzinfo=UTC).isoformat()] * len(rows)
        for column, name in enumerate(COUNTS, start=1):
            frame[name] = [row[column] for row in rows]
        body = {"push_source_name": _sources()[entity], "df": frame, "to": "online"}
        self._client.post(f"{self._server}/push", json=body).raise_for_status()
