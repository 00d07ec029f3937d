"""What git knows: commits as records, and per file how often, when and by which commit it last changed."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

from components.ingest.records import Record

_FIELDS = "%x1e%H%x1f%ct%x1f%B%x1f"
_TRAILER = re.compile(r"^(?:Signed-off-by|Co-authored-by|Change-Id|Reviewed-by)\b.*$", re.IGNORECASE | re.MULTILINE)


class Change(NamedTuple):
    """A file's history: commits that touched it, last time (epoch seconds) and last commit."""

    touched: int
    at: int
    commit: str


class History(NamedTuple):
    """``files`` by path relative to the source; ``commits`` newest first. Both empty without history."""

    files: dict[str, Change]
    commits: list[Record]


def read_history(root: Path, max_commits: int) -> History:
    """Read ``git log`` of what lies below ``root``; empty where git is missing or ``root`` holds no tracked file."""
    log = _git(
        root, "log", "--relative", "--name-only", "--no-merges", "--no-renames", f"--format={_FIELDS}", "--", "."
    )
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
    return History(files, commits)


def _record(sha: str, at: int, message: str, touched: list[str]) -> Record:
    subject, _, rest = _TRAILER.sub("", message).strip().partition("\n")
    files = ", ".join(touched[:12]) + (f" and {len(touched) - 12} more" if len(touched) > 12 else "")
    doc = f"{subject.strip()}\n\n{rest.strip()}".strip()
    return Record(
        f"commits/{sha[:12]}", sha, "commit", f"commit {sha[:12]} touches {files}", doc, "", 0, 0, sha, "", at
    )


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), "-c", "core.quotePath=false", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=300)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""
