"""Cut records to the table of passages: copies dropped, identified, linked, dated, split."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from components.common.passages import COLUMNS, splits
from components.common.records import Record
from components.ingest.cutting import Cut
from components.ingest.history import Change

if TYPE_CHECKING:
    import pandas as pd

_LATEST = 2**33
"""Epoch seconds (the year 2242) from which a date is none: clocks and commits may say anything; pandas ends at 2262."""


def unique(cuts: Iterable[Cut]) -> list[Cut]:
    """Sorted by path and line, with every (name, signature, documentation, code) kept once: copied code counts once."""
    seen: set[bytes] = set()
    out = []
    for cut in sorted(cuts, key=lambda c: (c.record.path, c.record.start, c.record.name)):
        if cut.content not in seen:
            seen.add(cut.content)
            out.append(cut)
    return out


def table(cuts: list[Cut], files: dict[str, Change], times: dict[str, int], url: str) -> "pd.DataFrame":
    """One row a passage (columns ``COLUMNS``), in the cuts' order, identical text once.

    ``files``: git history by path; ``times``: epoch seconds of files without history; ``url``: template of links.
    """
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    seen: set[str] = set()
    split_by_path = splits(Counter(cut.record.path for cut in cuts))
    for cut in cuts:
        record = cut.record
        unknown = Change(0, record.changed_at or times.get(record.path, 0), record.commit)
        change = files.get(record.path, unknown)
        split, link = split_by_path[record.path], record.url or _link(url, record, change.commit)
        for part, piece in enumerate(cut.pieces):
            text = "\n".join(t for t in (cut.headers[part > 0], piece.doc, piece.body) if t)
            if text in seen:
                continue
            seen.add(text)
            identity = hashlib.sha256(f"{record.path}\0{record.name}\0{part}\0{text}".encode(errors="replace"))
            rows.append((
                identity.hexdigest()[:16], record.path, record.name, record.kind, record.signature, piece.doc,
                piece.body, text, cut.summary, record.start, record.end, change.commit, link, piece.n_tokens,
                bool(cut.pieces[0].doc), change.touched, change.at if 0 <= change.at < _LATEST else 0, split,
            ))  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["changed_at"] = pd.to_datetime(frame["changed_at"], unit="s", utc=True).astype("datetime64[us, UTC]")
    whole = ("start_line", "end_line", "n_tokens", "n_changes")
    return frame.astype(dict.fromkeys(whole, "int32"))


def _link(template: str, record: Record, commit: str) -> str:
    if not template or not record.start or (not commit and "{commit}" in template):
        return ""
    return template.format(path=record.path, start=record.start, end=record.end, commit=commit)
