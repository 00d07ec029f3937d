"""What git knows: commits as records, and per file how often, when and by which commit it last changed."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from components.common.records import Record, mended
from components.ingest.repository import NoHistory, git_log

_FORMAT = "/%H %ct%x00%B"
_COMMIT = re.compile(r"\n?/([0-9a-f]{40,64}) (\d*)")
"""How a commit begins among the names of files, none of which begins with a slash; NUL is in neither."""
_TRAILER = re.compile(r"^(?:Signed-off-by|Co-authored-by|Change-Id|Reviewed-by)\b.*$", re.IGNORECASE | re.MULTILINE)


MAX_COMMITS = 2000
"""Newest commits that become passages; every commit counts in a file's history."""


class Change(NamedTuple):
    """A file's history: commits that touched it, last time (epoch seconds) and last commit."""

    touched: int
    at: int
    commit: str


class History(NamedTuple):
    """``files`` by path relative to the source; ``commits`` newest first; ``lack``: a sentence on what is missing.

    All empty for a source that lies in no repository.
    """

    files: dict[str, Change]
    commits: list[Record]
    lack: str = ""


def read_history(root: Path) -> History:
    """Read ``git log`` of what lies below ``root``, in the way of `components.ingest.repository`."""
    try:
        log, shallow = git_log(
            root, "-z", "--relative", "--name-only", "--no-merges", "--no-renames", f"--format={_FORMAT}", "--", "."
        )
    except NoHistory as why:
        return History({}, [], mended(str(why)))
    files: dict[str, Change] = {}
    commits: list[Record] = []
    for sha, at, message, touched in _entries(log):
        for name in touched:
            known = files.get(name)
            files[name] = Change(1, at, sha) if known is None else known._replace(touched=known.touched + 1)
        if len(commits) < MAX_COMMITS and touched:
            commits.append(_record(sha, at, message, touched))
    lack = "a shallow clone: dates and numbers of changes begin with its oldest commit; `git fetch --unshallow`"
    return History(files, commits, lack if shallow and files else "")


def _entries(log: str) -> Iterator[tuple[str, int, str, list[str]]]:
    """Id, time (epoch seconds, 0 where a commit says none), message and names of files, of every commit."""
    tokens = iter(log.split("\0"))
    entry: tuple[str, int, str, list[str]] | None = None
    for token in tokens:
        if begin := _COMMIT.fullmatch(token):
            if entry:
                yield entry
            entry = (begin[1], int(begin[2] or 0), next(tokens, ""), [])
        elif entry and (name := token.lstrip("\n")):
            entry[3].append(mended(name))
    if entry:
        yield entry


def _record(sha: str, at: int, message: str, touched: list[str]) -> Record:
    subject, _, rest = _TRAILER.sub("", message).strip().partition("\n")
    files = ", ".join(touched[:12]) + (f" and {len(touched) - 12} more" if len(touched) > 12 else "")
    doc = f"{subject.strip()}\n\n{rest.strip()}".strip()
    return Record(
        f"commits/{sha[:12]}", sha, "commit", f"commit {sha[:12]} touches {files}", doc, "", 0, 0, sha, "", at
    )
