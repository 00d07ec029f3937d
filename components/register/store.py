"""Where registered bundles live: a place of their own, that outlives the pipeline run which made them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from components.common import storage
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir, digest

MARKER = "bundle.json"


def keep(bundle: Path, system: str) -> tuple[str, str]:
    """Copy a bundle to ``bundles/<system>/<digest>`` below ``SLUICE_ARTIFACTS``, by hard links where a disk allows.

    Out: its place (a path or a URL) and its digest; an earlier copy of the same content stays as it is. Errors:
    `SluiceError` if there is no bundle, or it cannot be written; nothing half-written counts: a directory appears
    whole, and in an object store ``bundle.json`` comes last.
    """
    if not (bundle / MARKER).is_file():
        raise SluiceError(f"{bundle}: no bundle.json; register a bundle directory, as the step 'pack' writes it")
    content = digest(bundle)
    place = f"{storage.artifacts()}/bundles/{system}/{content}"
    if storage.is_url(place):
        storage.put(bundle, place, last=MARKER)
        return place, content
    target = Path(place).resolve()
    if target.is_dir() and digest(target) == content:
        return str(target), content
    try:
        with atomic_dir(target) as scratch:
            shutil.copytree(bundle, scratch, dirs_exist_ok=True, copy_function=_link_or_copy)
    except (OSError, shutil.Error) as error:
        raise SluiceError(
            f"{target}: the bundle could not be stored ({error}); make room there and run again"
        ) from error
    return str(target), content


def local(place: str, content: str) -> Path:
    """The registered bundle as a directory of this machine; one in an object store is fetched and its digest checked.

    Errors: `SluiceError` if it is gone, cannot be read, or is not what was registered.
    """
    whole = storage.has(place, MARKER) if storage.is_url(place) else (Path(place) / MARKER).is_file()
    if not whole:
        raise SluiceError(f"bundle {place} is gone; restore it")
    return storage.fetch(place, content) if storage.is_url(place) else Path(place)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
