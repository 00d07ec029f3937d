"""Which files of a source are read: regular files of known kinds below its root, each once; the others are named."""

import fnmatch
import os
from collections.abc import Collection, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from components.common.records import Skipped
from components.ingest.settings import IngestSettings
from serving.contract.errors import SluiceError

SUFFIXES = {".py": "python", ".pyi": "python", ".md": "markdown", ".mdx": "markdown", ".markdown": "markdown"}
_OTHERS = {"node_modules": "packages of others", "site-packages": "packages of others"}
_MADE = {"dist", "build", "venv", "env"}
"""Names of what builds and virtual environments leave, and of packages too: pypa/build, rllib/env."""


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


def select(
    root: Path, part: str, default_source: bool, settings: IngestSettings, tracked: Collection[str] = ()
) -> tuple[list[str], list[Skipped]]:
    """Relative posix paths to read, sorted, and what was left out; ``tracked``: files that git knows.

    Part "core" narrows the default source only; a directory the user named is always read whole.
    """
    if part not in ("core", "all"):
        raise SluiceError(f"part {part!r}: unknown; use 'core' (a named subset of the default source) or 'all'")
    paths, skipped = walk(root, settings.max_file_bytes, tracked)
    globs: Sequence[str] = settings.core if part == "core" and default_source else ()
    kept = [p for p in paths if (not globs or matches(p, globs)) and not matches(p, settings.exclude)]
    if globs:
        skipped = [s for s in skipped if matches(s.path, globs)]
    return kept, skipped


def walk(root: Path, max_bytes: int, tracked: Collection[str] = ()) -> tuple[list[str], list[Skipped]]:
    """All readable files of known kinds below ``root``.

    Links are followed as long as they stay below it; those that leave or repeat are skipped by name, and so are
    directories that hold nothing of the source. Names that start with a dot are passed over.
    """
    paths: list[str] = []
    skipped: list[Skipped] = []
    seen: set[tuple[int, int]] = set()
    folders = {parent for path in tracked for parent in _parents(path)}
    left = [str(root)]
    while left:  # not os.walk, which recurses before Python 3.12: a thousand nested directories would end it
        folder = left.pop()
        try:
            here, names = os.stat(folder), _directories(folder)
        except OSError as error:
            skipped.append(Skipped(_relative(folder, root), f"cannot be opened ({error.strerror})"))
            continue
        if (here.st_dev, here.st_ino) in seen:
            skipped.append(Skipped(_relative(folder, root), "directory already read (a link that loops or repeats)"))
            continue
        seen.add((here.st_dev, here.st_ino))
        for name in sorted(names, reverse=True):  # the last directory that is put on ``left`` is read first
            path = os.path.join(folder, name)
            relative = _relative(path, root)
            foreign = _foreign(path, relative in folders) if names[name] else _unreadable(path, max_bytes)
            if why := _leaves(path, root) or foreign:
                skipped.append(Skipped(relative, why))
            else:
                (left if names[name] else paths).append(path if names[name] else relative)
    return sorted(paths), sorted(skipped)


def _directories(folder: str) -> dict[str, bool]:
    """What of ``folder`` may be read, by name: is it a directory, or a link to one? Files are of known kinds."""
    is_directory = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            inner = entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry.path))
            known = entry.name != "__pycache__" if inner else os.path.splitext(entry.name)[1].lower() in SUFFIXES
            if known and not entry.name.startswith("."):
                is_directory[entry.name] = inner
    return is_directory


def _parents(path: str) -> Iterable[str]:
    while path := path.rpartition("/")[0]:
        yield path


def _leaves(path: str, root: Path) -> str:
    """Why a link is not followed; "" for what is no link, or stays in the source (its .git is no part of it)."""
    if not os.path.islink(path):
        return ""
    target = Path(os.path.realpath(path))
    if target.is_relative_to(root) and ".git" not in target.relative_to(root).parts:
        return ""
    return "a link that leaves the source"


def _foreign(path: str, tracked: bool) -> str:
    """Why a directory is no part of the source; "" for one that is."""
    name = os.path.basename(path)
    if os.path.isfile(os.path.join(path, "pyvenv.cfg")) or os.path.isdir(os.path.join(path, "conda-meta")):
        return "a virtual environment"
    if name in _OTHERS and not tracked:
        return _OTHERS[name]
    if name in _MADE and not tracked and not os.path.isfile(os.path.join(path, "__init__.py")):
        return "looks like the output of a build or an environment: it has no __init__.py, and git does not track it"
    return ""


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
