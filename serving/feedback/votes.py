"""Votes: one for each answer (or part of one) and voter; a later one takes the earlier one's place."""

import json
import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from hashlib import blake2b
from threading import Lock
from typing import Any

from sqlalchemy import Engine, select

from serving.contract.errors import SluiceError
from serving.contract.refusals import busy
from serving.feedback.answers import add_counts, span_of
from serving.feedback.tables import WHOLE, answers, insert, utc_now, votes

MAX_CORRECTION = 4000
_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_CLIENTS = 10_000


@dataclass(frozen=True)
class Vote:
    """A user's word on an answer: "up" or "down", what would have been right, and the part's times in seconds.

    Errors: `SluiceError` for anything else.
    """

    request_id: str
    vote: str
    correction: str | None = None
    start: float | None = None
    end: float | None = None

    def __post_init__(self) -> None:
        if self.vote not in ("up", "down"):
            raise SluiceError(f"vote {str(self.vote)[:40]!r}: expected 'up' or 'down'")
        if self.correction is not None and not isinstance(self.correction, str):
            raise SluiceError("correction: expected a text")
        object.__setattr__(self, "correction", (self.correction or "").strip() or None)
        if self.correction and len(self.correction) > MAX_CORRECTION:
            raise SluiceError(f"correction: expected a text of at most {MAX_CORRECTION} characters")
        for at in (self.start, self.end):
            if at is not None and (isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at < 1e6):
                raise SluiceError("'start' and 'end' must be seconds of the recording")
        if not isinstance(self.request_id, str) or not _ID.fullmatch(self.request_id):
            raise self.unknown()

    def unknown(self) -> SluiceError:
        """The complaint about an id that no answer has."""
        return SluiceError(f"request_id {ascii(self.request_id)[:80]} is unknown; send the request_id of an answer")


def pseudonym(client: str, salt: bytes) -> str:
    """Who votes, as 24 hex digits that only the store with this salt gives ``client`` (a name, an address)."""
    return blake2b(client.encode("utf-8", "replace"), key=salt, digest_size=12).hexdigest()


def client_of(identity: str, address: str) -> str:
    """Who counts as one client: a name where there is one, else an address (`Access.client`)."""
    return f"name {identity}" if identity else address


class Rate:
    """At most ``a_minute`` votes of one client a minute; of the last `_CLIENTS` clients it remembers each."""

    def __init__(self, a_minute: int) -> None:
        self._most = float(a_minute)
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, client: str, now: float) -> None:
        """One vote at ``now`` (seconds of a monotonic clock). Errors: 429."""
        with self._lock:
            left, before = self._left.pop(client, (self._most, now))
            left = min(self._most, left + (now - before) * self._most / 60)
            self._left[client] = (max(0.0, left - 1) if left >= 1 else left, now)
            if len(self._left) > _CLIENTS:
                self._left.popitem(last=False)
        if left < 1:
            raise busy(f"you have given {self._most:g} votes within a minute, as many as are taken", 10)


def add(engine: Engine, given: Vote, voter: str) -> dict[str, Any] | None:
    """Store a vote, and count it for the items of that answer; None when no answer has the id.

    An answer that shows items is voted on as a whole, any other also part by part.

    Out: the row; "counted" is "new" (the voter's first on this answer), "changed", "same", or "part" (another part).
    Errors: `SluiceError` for times that no part has.
    """
    with engine.begin() as connection:
        query = select(answers).where(answers.c.request_id == given.request_id).with_for_update()
        if (answer := connection.execute(query).first()) is None:
            return None
        items: list[str] = json.loads(answer.item_ids) if answer.item_ids else []
        start, end = WHOLE, None
        if not items:
            start, end = span_of(answer.parts, answer.duration_s, given.start, given.end, given.correction is not None)
        own = select(votes.c.start_s, votes.c.vote).where(
            votes.c.request_id == given.request_id, votes.c.voter == voter
        )
        before = {row.start_s: row.vote for row in connection.execute(own)}
        now = utc_now()
        values = {"vote": given.vote, "correction": given.correction, "end_s": end, "at": now}
        statement = insert(connection, votes).values(request_id=given.request_id, start_s=start, voter=voter, **values)
        keys = ["request_id", "start_s", "voter"]
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))
        if before.get(start) != given.vote:
            delta = {given.vote: 1} | ({before[start]: -1} if start in before else {})
            add_counts(connection, now.date(), {(answer.entity, item): delta for item in items})
    return {
        "request_id": given.request_id, "revision": answer.revision, "entity": answer.entity, "item_ids": items,
        "vote": given.vote, "correction": given.correction, "start": None if start == WHOLE else start, "end": end,
        "at": now.replace(tzinfo=UTC).isoformat(), "counted": _kind(before, start, given.vote),
    }  # fmt: skip


def _kind(before: Mapping[float, str], start: float, vote: str) -> str:
    if start in before:
        return "same" if before[start] == vote else "changed"
    return "part" if before else "new"
