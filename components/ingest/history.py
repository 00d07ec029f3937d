"""What git knows: commits as records, and per file how often, when and by which commit it last changed."""

import re
from pathlib import Path
from typing import NamedTuple

from components.ingest.records import Record
from components.ingest.repository import NoHistory, git_log

_FIELDS = "%x1e%H%x1f%ct%x1f%B%x1f"
_TRAILER = re.compile(r"^(?:Signed-off-by|Co-authored-by|Change-Id|Reviewed-by)\b.*$", re.IGNORECASE | re.MULTILINE)


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


def read_history(root: Path, max_commits: int) -> History:
    """Read ``git log`` of what lies below ``root``, in the way of `components.ingest.repository`."""
    try:
        log, shallow = git_log(
            root, "--relative", "--name-only", "--no-merges", "--no-renames", f"--format={_FIELDS}", "--", "."
        )
    except NoHistory as why:
        return History({}, [], str(why))
    files: dict[str, Change] = {}
    commits: list[Record] = []
    for entry in log.split("\x1e")[1:]:
        sha, at, message, names = entry.split("\x1f", 3)
        touched = [name for name in names.split("\n") if name]
        for name in touched:
            known = files.get(name)
            files[name] = Change(1, int(at), sha) if known is None else known._replace(touched=known.touched + 1)
        if len(commits) < max_commits and touched:
            commits.append(_record(sha, int(at), message, touched))
    lack = "a shallow clone: dates and numbers of changes begin with its oldest commit; `git fetch --unshallow`"
    return History(files, commits, lack if shallow and files else "")


def _record(sha: str, at: int, message: str, touched: list[str]) -> Record:
    subject, _, rest = _TRAILER.sub("", message).strip().partition("\n")
    files = ", ".join(touched[:12]) + (f" and {len(touched) - 12} more" if len(touched) > 12 else "")
    doc = f"{subject.strip()}\n\n{rest.strip()}".strip()
    return Record(
        f"commits/{sha[:12]}", sha, "commit", f"commit {sha[:12]} touches {files}", doc, "", 0, 0, sha, "", at
    )
