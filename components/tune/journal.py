"""A study's journal after a crash: what was half written is cut out, so that the studies in it go on."""

import json
import sys
from pathlib import Path

from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file

BEGIN = b'{"op_code"'
"""How every record of Optuna's journal begins, one JSON object a line (optuna.storages.journal)."""


def mend(journal: Path) -> None:
    """Cut records out of ``journal`` that a killed process or a power cut left unfinished; whole ones are kept.

    That is half a line, also with the next writer's line right behind it, and NUL bytes. Nobody has acted on such a
    record: readers wait for the end of a line. The journal as it was is kept beside it, ending in ``.damaged``. Errors:
    `SluiceError` for any other line that is no record, since what follows may rest on it.
    """
    from optuna.storages.journal import JournalFileSymlinkLock

    if not journal.is_file() or _whole(journal.read_bytes()):
        return
    lock = JournalFileSymlinkLock(str(journal))
    lock.acquire()  # what looked unfinished may have been another worker's line under way
    try:
        content = journal.read_bytes()
        if _whole(content):
            return
        records = [_record(journal, number, line) for number, line in enumerate(content.split(b"\n"), 1)]
        mended = b"".join(record + b"\n" for record in records if record)
        journal.with_name(f"{journal.name}.damaged").write_bytes(content)
        with atomic_file(journal) as scratch:
            scratch.write_bytes(mended)
    finally:
        lock.release()
    print(
        f"study journal {journal}: {len(content) - len(mended)} unfinished bytes were cut out; "
        f"the journal as it was is {journal.name}.damaged",
        file=sys.stderr,
        flush=True,
    )


def _whole(content: bytes) -> bool:
    lines = content.split(b"\n")
    return lines.pop() == b"" and all(map(_is_record, lines))


def _record(journal: Path, number: int, line: bytes) -> bytes:
    """The whole record at the end of a line, or nothing where it holds unfinished ones only."""
    line = line.strip(b"\0\r ")
    at = len(line)
    while (at := line.rfind(BEGIN, 0, at)) >= 0:
        if _is_record(line[at:]):
            return line[at:]
    if line and not BEGIN.startswith(line[: len(BEGIN)]):
        raise SluiceError(
            f"study journal {journal}, line {number}: no record of Optuna ({line[:40]!r}); take the line out, or move "
            "the file away to begin every study anew"
        )
    return b""


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record
