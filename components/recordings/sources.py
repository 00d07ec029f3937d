"""Which files a source holds: a file, a folder or a bucket's prefix, listed and fetched through fsspec."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from serving.errors import SluiceError

log = logging.getLogger(__name__)
SAMPLES = Path(__file__).with_name("samples")
REFERENCES = (".vtt", ".srt")
_BESIDE = {*REFERENCES, ".txt", ".md", ".json", ".yaml", ".yml", ".csv", ".html", ".py", ".pdf", ".log", ".parquet"}
"""What lies beside recordings and is none; every other file is tried, for names lie."""


@dataclass(frozen=True)
class Source:
    """A place with its recordings: paths relative to ``root``, sorted; ``beside`` the other files by relative path."""

    filesystem: Any
    root: str
    recordings: list[str]
    beside: frozenset[str]

    @contextmanager
    def local(self, file: str) -> Iterator[Path]:
        """A file on this machine while the block runs: itself, or a copy that is fetched and removed again."""
        full = f"{self.root}/{file}"
        if "file" in _protocols(self.filesystem):
            yield Path(full)
            return
        with tempfile.TemporaryDirectory(prefix="sluice-") as folder:
            target = Path(folder) / PurePosixPath(file).name
            with self.filesystem.open(full, "rb") as remote, target.open("wb") as copy:
                shutil.copyfileobj(remote, copy, 1 << 20)
            yield target

    def text(self, file: str) -> str:
        """A file beside the recordings as text; bytes that are no UTF-8 become replacement characters."""
        with self.filesystem.open(f"{self.root}/{file}", "rb") as stream:
            return bytes(stream.read()).decode("utf-8", errors="replace")

    def changed_at(self, file: str) -> datetime:
        """When the file was last written (UTC); 1970 where the place does not say."""
        info = self.filesystem.info(f"{self.root}/{file}")
        when = info.get("mtime") or info.get("LastModified") or info.get("last_modified") or 0
        return datetime.fromtimestamp(int(when), UTC) if isinstance(when, (int, float)) else when.astimezone(UTC)

    def reference(self, file: str) -> str:
        """The transcript beside a recording: same folder, same stem; "" when there is none."""
        stem = file[: len(file) - len(PurePosixPath(file).suffix)]
        return next((stem + suffix for suffix in REFERENCES if stem + suffix in self.beside), "")


def open_source(source: str) -> Source:
    """List the recordings of ``source``: a file, a folder, ``s3://bucket/prefix`` (any fsspec URL), or "" for our own.

    Hidden files are passed over. Errors: `SluiceError` when the place cannot be read or holds no recording.
    """
    import fsspec

    place = source or str(SAMPLES)
    try:
        filesystem, root = fsspec.core.url_to_fs(place)
        root = root.rstrip("/")
        if not filesystem.exists(root):
            raise FileNotFoundError("no such file or folder")
        if filesystem.isfile(root):
            parent, name = root.rsplit("/", 1)
            return Source(filesystem, parent, [name], _beside(_relative(filesystem.ls(parent, detail=False), parent)))
        found = [file for file in _relative(filesystem.find(root), root) if not _leaves(filesystem, root, file)]
    except (OSError, ImportError, ValueError) as error:
        raise SluiceError(
            f"source {place}: cannot be read ({error}); name a file, a folder or an s3:// prefix"
        ) from error
    recordings = sorted(file for file in found if PurePosixPath(file).suffix.lower() not in _BESIDE)
    if not recordings:
        raise SluiceError(
            f"source {place}: no recording in it; name a folder or prefix that holds audio or video files"
        )
    return Source(filesystem, root, recordings, _beside(found))


def _leaves(filesystem: Any, root: str, file: str) -> bool:
    """Is the file of a folder here a link to somewhere else? Then it is none of the source's, and the log says so."""
    if "file" not in _protocols(filesystem):
        return False
    if Path(root, file).resolve().is_relative_to(Path(root).resolve()):
        return False
    log.warning("skipped %s: a link that leaves the source", file)
    return True


def _protocols(filesystem: Any) -> tuple[str, ...]:
    return (filesystem.protocol,) if isinstance(filesystem.protocol, str) else tuple(filesystem.protocol)


def _relative(paths: list[str], root: str) -> list[str]:
    names = (path.removeprefix(root).lstrip("/") for path in paths)
    return [name for name in names if name and not any(part.startswith(".") for part in name.split("/"))]


def _beside(files: list[str]) -> frozenset[str]:
    return frozenset(file for file in files if PurePosixPath(file).suffix.lower() in _BESIDE)
