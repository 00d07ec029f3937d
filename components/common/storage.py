"""What outlives a run, where ``SLUICE_ARTIFACTS`` says: a directory, or an object store through fsspec."""

import os
import shutil
from pathlib import Path
from typing import Any

from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir, atomic_file, digest, home


def artifacts() -> str:
    """Root of what outlives a run: ``$SLUICE_ARTIFACTS`` (a directory, s3://bucket/prefix), default the home."""
    return (os.environ.get("SLUICE_ARTIFACTS") or str(home())).rstrip("/")


def is_url(place: str) -> bool:
    """Whether ``place`` is in an object store, and not a path of this machine."""
    return "://" in place


def put(source: Path, url: str, last: str) -> None:
    """Upload the directory ``source`` to ``url``, the file ``last`` at the end: while it is missing, nothing counts.

    What is there already, whole and of the same sizes, stays. Errors: `SluiceError` if the store cannot be written.
    """
    files = {str(p.relative_to(source)): p for p in sorted(source.rglob("*")) if p.is_file()}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    with _Asked(url) as (store, root):
        if store.exists(f"{root}/{last}") and _sizes(store, root) == sizes:
            return
        for name in sorted(files, key=lambda name: (name == last, name)):
            store.put_file(str(files[name]), f"{root}/{name}")


def has(url: str, marker: str) -> bool:
    """Whether the directory at ``url`` is whole. Errors: `SluiceError` if the store does not answer."""
    with _Asked(url) as (store, root):
        return bool(store.exists(f"{root}/{marker}"))


def fetch(url: str, content: str) -> Path:
    """A local copy of the directory at ``url`` whose digest is ``content``, below ``$SLUICE_HOME/cache``.

    A copy that is whole is used again. Errors: `SluiceError` if it cannot be read, or is not what was stored.
    """
    target = home() / "cache" / _safe(content)
    if target.is_dir() and digest(target) == content:
        return target
    with _Asked(url) as (store, root):
        names = [_safe(name) for name in _sizes(store, root)]
        if not names:
            raise FileNotFoundError("nothing is stored there")
        with atomic_dir(target) as scratch:
            for name in names:
                (scratch / name).parent.mkdir(parents=True, exist_ok=True)
                store.get_file(f"{root}/{name}", str(scratch / name))
            if (found := digest(scratch)) != content:
                raise SluiceError(f"{url}: its digest is {found}, not {content}; restore what was registered there")
    return target


def push_file(path: Path, url: str) -> None:
    """Upload one file. Errors: `SluiceError` if the store cannot be written."""
    with _Asked(url) as (store, root):
        store.put_file(str(path), root)


def pull_file(url: str, path: Path) -> bool:
    """Download one file to ``path``; False if there is none. Errors: `SluiceError` if the store does not answer."""
    with _Asked(url) as (store, root):
        if not store.exists(root):
            return False
        with atomic_file(path) as scratch:
            store.get_file(root, str(scratch))
    return True


def copy_to(source: Path, target: Path) -> None:
    """Copy a directory, whole or not at all."""
    with atomic_dir(target) as scratch:
        shutil.copytree(source, scratch, dirs_exist_ok=True)


class _Asked:
    """The fsspec file system of a URL and the path in it; its errors become one `SluiceError`."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> tuple[Any, str]:
        import fsspec

        try:
            store, root = fsspec.core.url_to_fs(self._url)
        except (ImportError, ValueError) as error:
            raise SluiceError(f"{self._url}: {error}; name a directory or s3://bucket/prefix") from error
        store.invalidate_cache()
        return store, root.rstrip("/")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, SluiceError):
            return
        if isinstance(error, OSError) or type(error).__module__.startswith(("botocore", "aiobotocore")):
            raise SluiceError(
                f"{self._url}: the object store refused or does not answer ({error}); see SLUICE_ARTIFACTS, "
                "AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error


def _safe(name: str) -> str:
    """The name of an object below the place that is fetched. Errors: `SluiceError` for one that would leave it."""
    if any(part in ("", ".", "..") for part in name.split("/")) or any(sign in name for sign in "\\\0:"):
        raise SluiceError(f"object {name[:200]!r}: its key would be written outside its directory; nothing was fetched")
    return name


def _sizes(store: Any, root: str) -> dict[str, int]:
    """Bytes of every object below ``root``, by its name there."""
    found = store.find(root, detail=True)
    return {name[len(root) + 1 :]: int(info["size"]) for name, info in found.items() if not name.endswith("/")}
