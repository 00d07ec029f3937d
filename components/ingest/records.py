"""What the readers hand over: one record a symbol, section, commit or issue, not yet cut to the encoder's window."""

from typing import NamedTuple


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


class Skipped(NamedTuple):
    """A file that could not be read, and why, in words."""

    path: str
    reason: str
