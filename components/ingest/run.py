"""Ingest as a function: a source in, passages.parquet out."""

import hashlib
import json
import logging
import multiprocessing
import os
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.common.progress import track
from components.common.records import Skipped, mended
from components.common.window import TokenWindow
from components.ingest.cutting import Cut, ReadingTask, cut_all, read_and_cut
from components.ingest.files import SUFFIXES, select, source_root
from components.ingest.history import read_history
from components.ingest.issues import read_issues
from components.ingest.passages import table, unique
from components.ingest.settings import TRANSFORMERS_URL, IngestSettings
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
_CHUNK = (
    600_000  # bytes of source a task of the pool reads: small enough to balance two cores, large enough to be cheap
)


@dataclass(frozen=True)
class Ingested:
    """Number of passages, digest of their ids and commits, source bytes read, and what was skipped."""

    count: int
    digest: str
    bytes_read: int
    skipped: list[Skipped]


def ingest(source: str, part: str, settings: IngestSettings, out: str | Path) -> Ingested:
    """Write the passages of ``source`` to ``out`` (parquet; columns in ``components.common.passages.COLUMNS``).

    ``source``: a directory, or "" for the installed transformers package; ``part``: "core" or "all". Files that cannot
    be read are skipped, counted and named in the log and the table's metadata. SluiceError: no such directory, or
    nothing in it to read.
    """
    root = source_root(source)
    history = read_history(root)
    paths, skipped = select(root, part, not source, settings, history.files)
    skipped += [Skipped(".git", history.lack)] if history.lack else []
    window = TokenWindow(settings.tokenizer, settings.max_tokens)
    cuts, bad, size = _read_files(root, paths, settings)
    skipped += bad
    issues, bad = read_issues(settings.issues) if settings.issues else ([], [])
    skipped += bad
    cuts += cut_all([*history.commits, *issues], window)
    if not cuts:
        raise SluiceError(
            f"source {source or root}: nothing to index in {len(paths)} Python and Markdown files "
            f"({len(skipped)} skipped); name a directory with documented code or text"
        )
    times = {mended(p): int((root / p).stat().st_mtime) for p in paths if mended(p) not in history.files}
    skipped = [Skipped(mended(path), mended(reason)) for path, reason in skipped]
    frame = table(unique(cuts), history.files, times, _url(settings, not source))
    digest = _digest(frame)
    _write(frame, Path(out), {"source": source or "transformers", "part": part, "bytes": size, "skipped": skipped})
    _tell(skipped)
    log.info("%d passages from %d files, %.1f MB", len(frame), len(paths), size / 1e6)
    return Ingested(len(frame), digest, size, skipped)


def _url(settings: IngestSettings, default_source: bool) -> str:
    template = settings.url or (TRANSFORMERS_URL if default_source else "")
    if "{version}" not in template:
        return template
    try:
        return template.replace("{version}", version("transformers"))
    except PackageNotFoundError:
        return ""


def _read_files(root: Path, paths: list[str], settings: IngestSettings) -> tuple[list[Cut], list[Skipped], int]:
    python = [p for p in paths if SUFFIXES[os.path.splitext(p)[1].lower()] == "python"]
    markdown = sorted(set(paths).difference(python))
    how = (settings.undocumented_min_lines, settings.tokenizer, settings.max_tokens)
    tasks = [ReadingTask(False, str(root), chunk, *how) for chunk in _chunks(root, python)]
    tasks += [ReadingTask(True, str(root), chunk, *how) for chunk in _chunks(root, markdown)]
    cuts: list[Cut] = []
    skipped: list[Skipped] = []
    size = 0
    for found, bad, read in _run(tasks, settings.workers):
        cuts += found
        skipped += bad
        size += read
    return cuts, sorted(skipped), size


def _run(tasks: list[ReadingTask], workers: int) -> list[tuple[list[Cut], list[Skipped], int]]:
    if workers == 1 or len(tasks) < 3:
        return [read_and_cut(task) for task in track(tasks, len(tasks), "Reading")]
    # Forked workers start in milliseconds; spawned ones would import the pipeline engine's launcher again. They only
    # parse text, so no lock that another thread may hold is ever taken.
    context = multiprocessing.get_context("fork" if sys.platform.startswith("linux") else "spawn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with ProcessPoolExecutor(min(workers, len(tasks)), context, _one_thread) as pool:
            return list(track(pool.map(read_and_cut, tasks), len(tasks), "Reading"))


def _one_thread() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # as many workers as cores already: no threads beside them


def _chunks(root: Path, paths: list[str]) -> list[list[str]]:
    chunks: list[list[str]] = []
    room = 0
    for path in paths:
        if room <= 0:
            chunks.append([])
            room = _CHUNK
        chunks[-1].append(path)
        room -= (root / path).stat().st_size
    return chunks


def _digest(frame: "pd.DataFrame") -> str:
    """Of content and history only, so that the same source has the same digest on every machine."""
    sha = hashlib.sha256()
    for passage, commit in zip(frame["passage_id"], frame["commit"], strict=True):
        sha.update(f"{passage}{commit}\n".encode())
    return sha.hexdigest()[:16]


def _write(frame: "pd.DataFrame", out: Path, about: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    about["skipped"] = [f"{s.path}: {s.reason}" for s in about["skipped"]]
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), b"sluice": json.dumps(about).encode()})
    with atomic_file(out) as scratch:
        pq.write_table(arrow, scratch, coerce_timestamps="us")


def _tell(skipped: list[Skipped]) -> None:
    for entry in skipped[:20]:
        log.warning("skipped %s: %s", entry.path, entry.reason)
    if len(skipped) > 20:
        log.warning("… and %d more; all are named in the passages' metadata", len(skipped) - 20)
