"""Files that are whole or absent: atomic writes, content digests, and the home directory of a laptop's state."""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serving.contract.errors import SluiceError


def home() -> Path:
    """Where this machine keeps runs, registries and live state: ``$SLUICE_HOME``, by default ``.sluice`` right here."""
    return Path(os.environ.get("SLUICE_HOME", ".sluice")).resolve()


def check_writable(file: Path, setting: str) -> None:
    """Can ``file`` be written, or made? Errors: `SluiceError` that names the ``setting`` to mend."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
        if file.is_file() and not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        place = f"{file.parent} cannot be written ({error.strerror})"
        raise SluiceError(f"{place}; name a place that can be in {setting}") from error


@contextmanager
def atomic_file(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; rename it over ``target`` on success, remove it on any error."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.fchmod(handle, 0o644)
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


@contextmanager
def atomic_dir(target: Path | str) -> Iterator[Path]:
    """Yield an empty temporary directory beside ``target``; it becomes ``target`` on success, and goes on any error.

    A directory that stood at ``target`` before is replaced.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    scratch.chmod(0o755)
    try:
        yield scratch
        if target.exists():
            shutil.rmtree(target) if target.is_dir() else target.unlink()
        scratch.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def digest(path: Path | str) -> str:
    """SHA-256 (first 16 hex digits) over the names and the content of a file or of everything below a directory."""
    path = Path(path)
    sha = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        sha.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()[:16]
