"""Digests that tell a cache what changed: the code that a step reaches, and the source that it reads."""

import ast
import functools
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"components", "serving", "load_tests", "feature_repo", "pipelines"}
SOURCE_SUFFIXES = {".py", ".md", ".jsonl"}


def _file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _imports(file: Path) -> frozenset[str]:
    """Project modules named by any import of a file, those inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return frozenset(name for name in names if name.split(".")[0] in ROOMS and _file_of(name))


@functools.cache
def code_digest(module: str) -> str:
    """SHA-256 (16 hex digits) over a module, every project module that it reaches by imports, and the YAML beside them.

    KFP's cache sees a step's signature and arguments but not the code that its body imports; this digest, handed to the
    step as an environment variable, closes that gap.
    """
    seen: dict[str, Path] = {}
    queue = [module]
    while queue:
        name = queue.pop()
        file = _file_of(name)
        if file and name not in seen:
            seen[name] = file
            queue.extend(_imports(file))
    files = set(seen.values()) | {data for file in seen.values() for data in file.parent.glob("*.yaml")}
    sha = hashlib.sha256(sys.version.encode())
    for file in sorted(files):
        sha.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return sha.hexdigest()[:16]


def source_digest(source: Path, *extra: str) -> str:
    """SHA-256 (16 hex digits) over the Python, Markdown and JSON-lines files below ``source``, and over ``extra``."""
    sha = hashlib.sha256("\0".join(extra).encode())
    for file in sorted(p for p in source.rglob("*") if p.suffix in SOURCE_SUFFIXES and p.is_file()):
        sha.update(str(file.relative_to(source)).encode())
        sha.update(file.read_bytes())
    history = source / ".git" / "logs" / "HEAD"
    if history.is_file():
        sha.update(history.read_bytes())
    return sha.hexdigest()[:16]
