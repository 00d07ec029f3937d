"""Which files of a source are read: regular files of known kinds, each once; loops and giants are named and skipped."""

import fnmatch
import os
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from components.ingest.records import Skipped
from components.ingest.settings import IngestSettings
from serving.errors import SluiceError

SUFFIXES = {".py": "python", ".pyi": "python", ".md": "markdown", ".mdx": "markdown", ".markdown": "markdown"}
_NEVER = {"__pycache__", "node_modules", "site-packages", "dist", "build", "venv", "env"}


def source_root(source: str) -> Path:
    """Directory of a source; "" is the installed ``transformers`` package, found without importing it."""
    if source:
        root = Path(source).expanduser()
        if not root.is_dir():
            raise SluiceError(f"source {source!r}: no such directory; name a directory with Python or Markdown files")
        return root.resolve()
    spec = find_spec("transformers")
    if spec is None or not spec.submodule_search_locations:
        raise SluiceError(
            "the default source, the package transformers, is not installed; run `pip install transformers`"
        )
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def matches(path: str, globs: Iterable[str]) -> bool:
    """Is ``path`` (posix, relative) one of ``globs``? A glob without a slash matches at the top level only."""
    return any(fnmatch.fnmatchcase(path, g) and ("/" in g or "/" not in path) for g in globs)


def select(root: Path, part: str, default_source: bool, settings: IngestSettings) -> tuple[list[str], list[Skipped]]:
    """Relative posix paths to read, sorted, and what was left out.

    Part "core" narrows the default source only; a directory the user named is always read whole.
    """
    if part not in ("core", "all"):
        raise SluiceError(f"part {part!r}: unknown; use 'core' (a named subset of the default source) or 'all'")
    paths, skipped = walk(root, settings.max_file_bytes)
    globs: Sequence[str] = settings.core if part == "core" and default_source else ()
    kept = [p for p in paths if (not globs or matches(p, globs)) and not matches(p, settings.exclude)]
    if globs:
        skipped = [s for s in skipped if matches(s.path, globs)]
    return kept, skipped


def walk(root: Path, max_bytes: int) -> tuple[list[str], list[Skipped]]:
    """All readable files of known kinds below ``root``; linked directories are followed, a loop is skipped by name."""
    paths: list[str] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int]] = set()
    for folder, names, files in os.walk(root, followlinks=True):
        here = os.stat(folder)
        if (here.st_dev, here.st_ino) in seen:
            skipped.append(Skipped(_relative(folder, root), "directory already read (a link that loops or repeats)"))
            names.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        names[:] = sorted(n for n in names if n not in _NEVER and not n.startswith("."))
        for file in sorted(files):
            if os.path.splitext(file)[1].lower() not in SUFFIXES:
                continue
            path = os.path.join(folder, file)
            if why := _unreadable(path, max_bytes):
                skipped.append(Skipped(_relative(path, root), why))
            else:
                paths.append(_relative(path, root))
    return sorted(paths), sorted(skipped)


def _relative(path: str, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _unreadable(path: str, max_bytes: int) -> str:
    try:
        size = os.stat(path).st_size
    except OSError as error:
        return f"cannot be opened ({error.strerror})"
    if not os.path.isfile(path):
        return "not a regular file"
    if size > max_bytes:
        return f"{size:,} bytes, over the limit of {max_bytes:,} (setting max_file_bytes)"
    return "" if os.access(path, os.R_OK) else "no permission to read"
