"""The table of passages: its columns, and which split a file or recording belongs to."""

import hashlib
from collections.abc import Mapping

_SALT = "1"
COLUMNS = (
    "passage_id", "path", "name", "kind", "signature", "doc", "body", "text", "summary", "start_line", "end_line",
    "commit", "url", "n_tokens", "documented", "n_changes", "changed_at", "split",
)  # fmt: skip


def split_of(path: str) -> str:
    """train, val or test (80/10/10) by a stable hash of the path: a file never lies in two splits.

    The salt was chosen by size alone, so that the 150 files of the part "core" come near these shares too.
    """
    bucket = int.from_bytes(hashlib.sha256(f"{_SALT}/{path}".encode(errors="replace")).digest()[:4], "big") % 10
    return {0: "test", 1: "val"}.get(bucket, "train")


def splits(passages: Mapping[str, int], least: float = 0.05) -> dict[str, str]:
    """The split of every path, by `split_of`; ``passages`` counts each path's passages.

    A source of few files can leave test or val with next to nothing. A split with less than ``least`` of the passages
    takes whole files from train, in the order of their names' hashes, until it has that share or train is down to one.
    """
    chosen = {path: split_of(path) for path in passages}
    order = sorted(passages, key=lambda path: hashlib.sha256(path.encode(errors="replace")).digest())
    for split in ("test", "val"):
        for path in order:
            train = [p for p, now in chosen.items() if now == "train"]
            share = sum(passages[p] for p, now in chosen.items() if now == split)
            if share >= least * sum(passages.values()) or len(train) < 2:
                break
            if chosen[path] == "train":
                chosen[path] = split
    return chosen
