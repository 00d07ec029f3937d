"""A server's side of feedback: a request never waits for it, and a vote not for long.

Answered requests are queued and written in batches by one thread, counts go to the feature server in another. Either
may fail for a while; nothing that the queue can hold is lost, and users see no error.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError

from serving.contract.files import check_writable
from serving.contract.refusals import Refused
from serving.contract.task import Remembered
from serving.feedback import answers, tables, votes
from serving.feedback.pushes import Pusher
from serving.feedback.votes import Rate, Vote, client_of, pseudonym
from serving.feedback.writer import Row, Writer

VOTE_SECONDS = 4.0
"""A vote that the database has not taken by then is told to come again."""
_PATIENCE_S = 3
_VOTERS = 4


class FeedbackStore:
    """Writes answered requests and votes to the database at ``url``, running totals to Feast's push source.

    ``feature_server``: base URL of Feast's HTTP server (default ``SLUICE_FEATURE_SERVER``; empty: no pushes). A vote's
    totals are pushed at once, "shown" totals every ``push_every_s``. ``queue_size`` bounds what waits to be written;
    answers without a vote are dropped after ``keep_days``. ``votes_a_minute`` of one client are taken.
    """

    def __init__(
        self, url: str | None = None, feature_server: str | None = None, push_every_s: float = 30,
        queue_size: int = 10_000, keep_days: int = 30, votes_a_minute: int = 300,
    ) -> None:  # fmt: skip
        """Start the threads; the database need not answer yet.

        Errors: `SluiceError` for a URL that cannot be meant, or a file in a place that cannot be written.
        """
        server = os.environ.get("SLUICE_FEATURE_SERVER", "") if feature_server is None else feature_server
        url = url or tables.feedback_url()
        self._engine = tables.connect(url, _PATIENCE_S)
        if file := tables.feedback_file(url):
            check_writable(file, "SLUICE_HOME or SLUICE_FEEDBACK_DB")
        self._rate = Rate(votes_a_minute)
        self._salt = b""  # "": whether the tables are there is yet to be seen
        # Threads of their own: votes that wait for a database must not hold up uploads, which use the common ones.
        self._voters = ThreadPoolExecutor(_VOTERS, thread_name_prefix="feedback-vote")
        self._pusher = Pusher(server, lambda *of: answers.totals(self._engine, *of), push_every_s)
        self._writer = Writer(self._prepare, self._add, lambda: answers.forget_old(self._engine, keep_days), queue_size)
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether all threads run."""
        return self._writer.alive and self._pusher.alive

    @property
    def failures(self) -> dict[str, int]:
        """Rows that a full queue or the end dropped; rows set aside, for nothing can be made of them; attempts to write
        to a database that was away; totals that were not pushed at first.
        """
        lost = {"dropped": self._writer.dropped, "rejected": self._writer.rejected + self._pusher.refused}
        return lost | {"unwritten": self._writer.failures, "unpushed": self._pusher.failures}

    def answered(self, request_id: str, revision: str, task: str, name: str, told: Remembered) -> None:
        """Remember an answer, so that a vote finds it. Returns at once; a full queue drops the row and counts it.

        ``name``: what its client calls what was answered, such as a recording's file name; "" for none.
        """
        self._writer.put({
            "request_id": request_id, "revision": revision, "task": task, "name": name, "recording": told.source,
            "duration_s": told.duration_s, "parts": answers.packed(told.parts), "asked": told.asked,
            "entity": told.entity, "item_ids": list(told.items), "at": tables.utc_now(),
        })  # fmt: skip

    async def cast(self, given: Vote, identity: str, address: str, seconds: float = VOTE_SECONDS) -> Row:
        """Store a vote within ``seconds``; see `vote`. The voter is who ``identity`` names, or else ``address``.

        Errors: as `vote`, and 429 for a client that votes too often.
        """
        client = client_of(identity, address)
        self._rate.take(client, time.monotonic())
        work = asyncio.get_running_loop().run_in_executor(self._voters, self.vote, given, client)
        try:
            return await asyncio.wait_for(work, seconds)
        except TimeoutError:
            raise away() from None

    def vote(self, given: Vote, client: str) -> Row:
        """Store a vote of ``client`` on an answered request; blocks on the database. Out: see `votes.add`.

        A second vote of theirs on the same request (and part) replaces the first. Errors: `SluiceError` for an unknown
        request or part, 503 when the database is away, full or broken.
        """
        try:
            row = self._find_and_vote(given, client)
        except (SQLAlchemyError, OSError, ValueError, TypeError, LookupError) as error:
            self._salt = b""
            raise away() from error
        if row is None:
            raise away() if self._writer.holds(given.request_id) else given.unknown()
        self._pusher.voted((row["entity"], item) for item in row["item_ids"])
        return row

    def feedback(
        self, request_id: str, vote: str, correction: str | None = None,
        start: float | None = None, end: float | None = None, client: str = "",
    ) -> Row:  # fmt: skip
        """`vote`, from its parts."""
        return self.vote(Vote(request_id, vote, correction, start, end), client)

    def _find_and_vote(self, given: Vote, client: str) -> Row | None:
        """Look again after a moment: the answer may still wait in this process's queue, or in another revision's."""
        salt = self._prepare()
        for pause in (0.0, 0.1, 0.4):
            time.sleep(pause)
            if row := votes.add(self._engine, given, pseudonym(client, salt)):
                return row
            tables.move(self._engine)
        return None

    def flush(self) -> None:
        """Wait until queued answers are written (5 s at most), then push every changed total now."""
        self._writer.flush()
        self._pusher.flush()

    def close(self) -> None:
        """Write and push what is left, stop the threads."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        self._pusher.flush()
        self._pusher.close()
        self._voters.shutdown(wait=False, cancel_futures=True)
        self._engine.dispose()

    def _prepare(self) -> bytes:
        salt = self._salt
        if not salt:
            salt = self._salt = tables.create_tables(self._engine)
        return salt

    def _add(self, rows: Sequence[Row]) -> None:
        try:
            self._pusher.shown(answers.add(self._engine, rows))
        except (OperationalError, ProgrammingError):  # it may have come back empty, as from an older backup
            self._salt = b""
            raise


def away() -> Refused:
    """503: the database does not answer; the vote may be given again."""
    return Refused(503, "feedback cannot be noted just now; send the vote again in 5 s", {"retry-after": "5"})
