"""What the readers hand over: one record a symbol, section, commit or issue, not yet cut to the encoder's window."""

import re
from typing import Any, NamedTuple

_HALF = re.compile("[\ud800-\udfff]")


def mended(text: str) -> str:
    """The text with U+FFFD in place of every lone surrogate: half an emoji, or a byte of a name that is not UTF-8.

    Two halves that belong together become the sign that they mean.
    """
    if text.isascii() or not _HALF.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Record(NamedTuple):
    """One documented thing in a source.

    ``doc`` is prose to be indexed whole (it continues in further passages), ``body`` is code that only fills what space
    is left. Lines count from 1, inclusive; 0 where a thing has no lines. ``changed_at`` is epoch seconds, 0 = unknown.
    """

    path: str
    name: str
    kind: str
    signature: str
    doc: str
    body: str
    start: int
    end: int
    commit: str = ""
    url: str = ""
    changed_at: int = 0


def mended_record(record: Record) -> Record:
    """The record with all its texts `mended`."""
    fields: list[Any] = [mended(field) if isinstance(field, str) else field for field in record]
    return Record(*fields)


class Skipped(NamedTuple):
    """A file that could not be read, and why, in words."""

    path: str
    reason: str
