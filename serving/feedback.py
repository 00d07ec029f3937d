"""Feedback finds its model: what was answered is kept, votes become counts in the feature store and training rows.

A request never waits here: answered requests are queued and written in batches by one thread, counts go to the feature
server in another. Either may fail for a while; nothing that the queue can hold is lost, and users see no error.
"""

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpx
import pandas as pd
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from serving import feedback_answers
from serving import feedback_tables as tables
from serving.errors import SluiceError
from serving.files import home

log = logging.getLogger(__name__)
VOTES = ("up", "down")
MAX_CORRECTION = 4000
_PUSH_SOURCE = "feedback_push"
_BATCH = 1000
_PUSH_CHUNK = 1000


def feedback_url() -> str:
    """``SLUICE_FEEDBACK_DB`` (a SQLAlchemy URL), or the laptop's file ``$SLUICE_HOME/feedback.db``."""
    return os.environ.get("SLUICE_FEEDBACK_DB") or f"sqlite:///{home() / 'feedback.db'}"


class FeedbackStore:
    """Writes answered requests and votes to the database at ``url``, running totals to Feast's push source.

    ``feature_server``: base URL of Feast's HTTP server (default ``SLUICE_FEATURE_SERVER``; empty: no pushes). A vote's
    totals are pushed at once, "shown" totals every ``push_every_s``. ``queue_size`` bounds what waits to be written;
    answers without a vote are dropped after ``keep_days``.
    Figures for metrics: ``dropped`` (rows the full queue refused), ``write_failures``, ``push_failures``, ``pushed``.
    """

    def __init__(
        self,
        url: str | None = None,
        feature_server: str | None = None,
        push_every_s: float = 30,
        queue_size: int = 10_000,
        keep_days: int = 30,
    ) -> None:
        """Start the threads; the database need not answer yet. `SluiceError` for a URL that cannot be meant."""
        server = os.environ.get("SLUICE_FEATURE_SERVER", "") if feature_server is None else feature_server
        self._engine = tables.connect(url or feedback_url())
        self._server, self._push_every_s, self._keep_days = server.rstrip("/"), push_every_s, keep_days
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue(maxsize=queue_size)
        self._pending_lock, self._push_lock = threading.Lock(), threading.Lock()
        self._voted: set[str] = set()
        self._shown: set[str] = set()
        self._wake, self._closing = threading.Event(), threading.Event()
        self._client = httpx.Client(timeout=5, trust_env=False)
        self._ready = False
        self.dropped = self.rejected = self.write_failures = self.push_failures = self.pushed = 0
        self._threads = [threading.Thread(target=self._write_loop, name="feedback-writer", daemon=True)]
        if self._server:
            self._threads.append(threading.Thread(target=self._push_loop, name="feedback-push", daemon=True))
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether all threads run."""
        return all(thread.is_alive() for thread in self._threads)

    def served(self, request_id: str, revision: str, question: str, passage_ids: Sequence[str]) -> None:
        """Remember an answer, so that a vote finds it. Returns at once; a full queue drops the row and counts it."""
        row = {"request_id": request_id, "revision": revision, "question": question}
        self._keep(row | {"passage_ids": list(passage_ids)})

    def answered(self, request_id: str, revision: str, task: str, name: str, result: Mapping[str, Any]) -> None:
        """Remember an answer without passages: its bullets, segments or text. Returns at once, as `served` does."""
        parts = feedback_answers.parts_of(result)
        self._keep({"request_id": request_id, "revision": revision, "task": task, "name": name, "parts": parts})

    def _keep(self, row: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait({**row, "at": tables.utc_now()})
        except queue.Full:
            self.dropped += 1

    def feedback(
        self, request_id: str, vote: str, correction: str | None = None,
        start: float | None = None, end: float | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Store a vote ("up" or "down") and an optional correction for an answered request; blocks on the database.

        ``start`` and ``end`` (seconds) say which part of a transcript or summary is meant; None: the whole answer.
        Out: the row (revision, passage_ids, at in ISO 8601, UTC, ...). A second vote on the same request (and
        part) replaces the first. Errors: `SluiceError` for an unknown request, another vote, a long correction;
        ``sqlalchemy.exc.SQLAlchemyError`` when the database does not answer.
        """
        if vote not in VOTES:
            raise SluiceError(f"vote {str(vote)[:40]!r}: expected 'up' or 'down'")
        if correction is not None and (not isinstance(correction, str) or len(correction) > MAX_CORRECTION):
            raise SluiceError(f"correction: expected a text of at most {MAX_CORRECTION} characters")
        given = {"vote": vote, "correction": (correction or "").strip() or None, "start": start, "end": end}
        row = self._vote(request_id, given) if isinstance(request_id, str) and 0 < len(request_id) <= 200 else None
        if row is None:
            raise SluiceError(f"request_id {str(request_id)[:80]!r} is unknown; send the request_id of an answer")
        if self._server:
            with self._pending_lock:
                self._voted.update(row["passage_ids"])
            self._wake.set()
        return row

    def _vote(self, request_id: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """Look again after a moment: the answer may still wait in this process's queue, or in another revision's."""
        self._create_tables()
        for pause in (0.0, 0.1, 0.4):
            time.sleep(pause)
            if row := tables.add_vote(self._engine, request_id, given["vote"], given["correction"]):
                return row
            if row := feedback_answers.add_answer_vote(self._engine, request_id, given):
                return row
        return None

    def flush(self) -> None:
        """Wait until queued answers are written (5 s at most), then push every changed total now."""
        end = time.monotonic() + 5
        while self._queue.unfinished_tasks and time.monotonic() < end:
            time.sleep(0.01)
        if self._server:
            self._push(shown_too=True)

    def close(self) -> None:
        """Write and push what is left, stop the threads."""
        if self._closing.is_set():
            return
        self.flush()
        self._closing.set()
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=10)
        self._client.close()
        self._engine.dispose()

    def _create_tables(self) -> None:
        if not self._ready:
            tables.create_tables(self._engine)
            self._ready = True

    def _write_loop(self) -> None:
        clean_at = time.monotonic()
        while not (self._closing.is_set() and self._queue.empty()):
            if batch := self._next_batch():
                self._write(batch)
            if time.monotonic() >= clean_at and self._ready:
                clean_at = time.monotonic() + 3600
                try:
                    tables.forget_old(self._engine, self._keep_days)
                    feedback_answers.forget_old_answers(self._engine, self._keep_days)
                except SQLAlchemyError as error:
                    log.warning("feedback: old rows stay for now: %s", error)

    def _next_batch(self) -> list[dict[str, Any]]:
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

    def _write(self, batch: list[dict[str, Any]]) -> None:
        """Write a batch, again and again until the database takes it; on closing, one last time."""
        while True:
            last = self._closing.is_set()
            try:
                self._create_tables()
                shown = self._add(batch)
                if self._server:
                    with self._pending_lock:
                        self._shown |= shown
                break
            except SQLAlchemyError as error:
                self.write_failures += 1
                log.warning("feedback: %d rows not written yet: %s", len(batch), error)
                if last:
                    self.dropped += len(batch)
                    break
                self._closing.wait(1)
        for _ in batch:
            self._queue.task_done()

    def _add(self, batch: list[dict[str, Any]]) -> set[str]:
        cited = [row for row in batch if "passage_ids" in row]
        if others := [row for row in batch if "passage_ids" not in row]:
            feedback_answers.add_answers(self._engine, others)
        return tables.add_served(self._engine, cited) if cited else set()

    def _push_loop(self) -> None:
        due = time.monotonic() + self._push_every_s
        while not self._closing.is_set():
            self._wake.wait(max(0.0, due - time.monotonic()))
            self._wake.clear()
            shown_too = time.monotonic() >= due
            if shown_too:
                due = time.monotonic() + self._push_every_s
            self._push(shown_too)
            self._closing.wait(0.2)

    def _push(self, shown_too: bool) -> None:
        """Push running totals of passages that changed; those that fail are kept for the next time."""
        with self._push_lock:
            with self._pending_lock:
                wanted = self._voted | (self._shown if shown_too else set())
                self._voted -= wanted
                self._shown -= wanted
            ids = sorted(wanted)
            for at in range(0, len(ids), _PUSH_CHUNK):
                chunk = ids[at : at + _PUSH_CHUNK]
                try:
                    self._post(tables.totals(self._engine, chunk))
                    self.pushed += len(chunk)
                except (httpx.HTTPError, SQLAlchemyError) as error:
                    self.push_failures += 1
                    log.warning("feedback: totals of %d passages not pushed yet: %s", len(ids) - at, error)
                    with self._pending_lock:
                        self._shown.update(ids[at:])
                    return

    def _post(self, rows: list[tuple[str, int, int, int]]) -> None:
        """POST /push, to the online store only: the offline file is rebuilt from this database by each pipeline run.

        (Feast's DuckDB store appends by rewriting the whole file in place, which a reader may meet half-way.)
        """
        if not rows:
            return
        frame: dict[str, list[Any]] = {"passage_id": [row[0] for row in rows]}
        frame["event_timestamp"] = [tables.utc_now().replace(tzinfo=UTC).isoformat()] * len(rows)
        for column, name in enumerate(tables.COUNTS, start=1):
            frame[name] = [row[column] for row in rows]
        body = {"push_source_name": _PUSH_SOURCE, "df": frame, "to": "online"}
        self._client.post(f"{self._server}/push", json=body).raise_for_status()


def labelled(url: str | None = None) -> pd.DataFrame:
    """Votes as training rows: question str, passage_ids list[str], vote str, correction str | None, at timestamp UTC.

    Errors: `SluiceError` when the database does not answer.
    """
    columns = (tables.served.c.question, tables.served.c.passage_ids, tables.feedback.c.vote)
    joined = tables.served.join(tables.feedback, tables.served.c.request_id == tables.feedback.c.request_id)
    query = select(*columns, tables.feedback.c.correction, tables.feedback.c.at).select_from(joined)
    frame = _read(url, query.order_by(tables.feedback.c.at), ["question", "passage_ids", "vote", "correction", "at"])
    frame["passage_ids"] = frame["passage_ids"].map(json.loads)
    frame["at"] = pd.to_datetime(frame["at"]).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    return frame


def corrections(task: str, url: str | None = None) -> pd.DataFrame:
    """Votes on transcripts, summaries and their parts as training rows, oldest first.

    Columns: request_id, revision, name str (the recording's file name without ending, or ""), start and end float64
    (seconds; NaN: the whole answer), answer str (what was said there), vote str, correction str | None, at timestamp
    UTC. Errors: `SluiceError` when the database does not answer.
    """
    names = ["request_id", "revision", "name", "parts", "start", "end", "vote", "correction", "at"]
    frame = _read(url, feedback_answers.corrections_query(task), names).astype({"start": "float64", "end": "float64"})
    answers = [feedback_answers.answer_at(*pair) for pair in zip(frame["parts"], frame["start"], strict=True)]
    frame["parts"] = pd.Series(answers, dtype=object)
    frame["start"] = frame["start"].where(frame["start"] != feedback_answers.WHOLE)
    frame["at"] = pd.to_datetime(frame["at"]).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    return frame.rename(columns={"parts": "answer"})


def votes_by_revision(since: float, url: str | None = None) -> pd.DataFrame:
    """Votes given at ``since`` (epoch seconds) or later, counted: revision str, vote ("up", "down"), votes int64.

    One answer, or one part of a transcript or summary, has one vote. Errors: `SluiceError` when the database does not
    answer.
    """
    kinds = ((tables.served, tables.feedback), (feedback_answers.answers, feedback_answers.answer_votes))
    after = datetime.fromtimestamp(since, UTC).replace(tzinfo=None)
    queries = [
        select(answer.c.revision, vote.c.vote)
        .select_from(answer.join(vote, answer.c.request_id == vote.c.request_id))
        .where(vote.c.at >= after)
        for answer, vote in kinds
    ]
    frame = _read(url, queries[0].union_all(queries[1]), ["revision", "vote"])
    return frame.groupby(["revision", "vote"], as_index=False).size().rename(columns={"size": "votes"})


def daily_counts(url: str | None = None) -> pd.DataFrame:
    """Counts by day: day timestamp (midnight, UTC), passage_id str, shown, up, down int64, ordered by day.

    Errors: `SluiceError` when the database does not answer.
    """
    columns = [tables.passage_days.c[name] for name in ("day", "passage_id", *tables.COUNTS)]
    frame = _read(url, select(*columns).order_by(columns[0], columns[1]), [column.name for column in columns])
    frame["day"] = pd.to_datetime(frame["day"]).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    return frame.astype(dict.fromkeys(tables.COUNTS, "int64"))


def _read(url: str | None, query: Any, columns: list[str]) -> pd.DataFrame:
    engine = tables.connect(url or feedback_url())
    try:
        tables.create_tables(engine)
        with engine.begin() as connection:
            return pd.DataFrame([tuple(row) for row in connection.execute(query)], columns=columns)
    except SQLAlchemyError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise SluiceError(f"feedback database {where} does not answer; check SLUICE_FEEDBACK_DB ({error})") from error
    finally:
        engine.dispose()
