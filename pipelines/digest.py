"""Digests that tell a cache what changed: the code that a step reaches, and the source that it reads."""

import ast
import functools
import hashlib
import os
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from components.tasks import ASPECTS

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"components", "serving", "load_tests", "feature_repo", "pipelines"}
_PLACE = re.compile(r"[a-z_]+(\.\w+)+:\w+")
SOURCE_SUFFIXES = {".py", ".pyi", ".md", ".mdx", ".markdown", ".jsonl"}


@functools.cache
def _file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _named(file: Path) -> tuple[frozenset[str], frozenset[str]]:
    """What a file names: modules, in any import and in tables of ``"package.module:name"``; and steps of `part`."""
    names: set[str] = set()
    steps: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "part":
            steps |= {str(step.value) for step in node.args[:1] if isinstance(step, ast.Constant)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _PLACE.fullmatch(node.value):
            names.add(node.value.partition(":")[0])
    return frozenset(names), frozenset(steps)


@functools.cache
def _imports(file: Path, task: str) -> frozenset[str]:
    """Project modules that a file imports, inside functions too, and those it finds by their task.

    By task are found ``part("train", task)`` (components.tasks.<task>) and tables of ``"package.module:name"``.
    """
    names, steps = _named(file)
    found = names | ({f"components.tasks.{task}.{ASPECTS[step]}" for step in steps} if task else set())
    return frozenset(name for name in found if name.split(".")[0] in ROOMS and _file_of(name))


@functools.cache
def code_digest(module: str, task: str = "") -> str:
    """SHA-256 (16 hex digits) over a module, every project module that it reaches by imports, and the data beside them.

    KFP's cache sees a step's signature and arguments but not the code that its body imports; this digest, handed to the
    step as an environment variable, closes that gap. ``task`` is the kind of model that the step works on, whose own
    module the step finds at run time.
    """
    seen: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        file = _file_of(name)
        if file and name not in seen:
            seen[name] = file
            queue.extend(_imports(file, task))
    files = set(seen.values()) | {data for folder in {file.parent for file in seen.values()} for data in _data(folder)}
    sha = hashlib.sha256(sys.version.encode())
    for file in sorted(files):
        sha.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return sha.hexdigest()[:16]


def _data(folder: Path) -> set[Path]:
    """A room's data: the YAML beside its modules, and everything in its folders that hold no modules."""
    folders = [f for f in folder.iterdir() if f.is_dir() and not any(f.glob("*.py")) and f.name != "__pycache__"]
    return set(folder.glob("*.yaml")) | {file for f in folders for file in f.rglob("*") if file.is_file()}


def source_digest(source: Path, *extra: str, suffixes: Collection[str] = SOURCE_SUFFIXES) -> str:
    """SHA-256 (16 hex digits) over the files below ``source`` (Python, Markdown, JSON lines), and over ``extra``.

    Other ``suffixes`` may be asked for; none means every file.
    """
    sha = hashlib.sha256("\0".join(extra).encode())
    for file in [source] if source.is_file() else sorted(_regular(source)):
        if suffixes and file.suffix.lower() not in suffixes:
            continue
        sha.update(os.fsencode(file.relative_to(source)))
        try:
            with file.open("rb") as stream:
                sha.update(hashlib.file_digest(stream, "sha256").digest())
        except OSError as error:
            sha.update(str(error.errno).encode())  # the step names it among what was skipped
    history = source / ".git" / "logs" / "HEAD"
    if history.is_file():
        sha.update(history.read_bytes())
    return sha.hexdigest()[:16]


def _regular(source: Path) -> Iterator[Path]:
    """Every file below ``source``. Links inside it lead to what is listed anyway, others to what no step reads."""
    left = [source]
    while left:  # not rglob, which recurses: a thousand nested directories would end it
        try:
            with os.scandir(left.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        left.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        yield Path(entry.path)
        except OSError:
            continue
