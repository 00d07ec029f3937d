"""Where registered bundles live: a directory of their own, that outlives the pipeline run which made them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from serving.errors import SluiceError
from serving.files import atomic_dir, digest, home


def keep(bundle: Path, system: str) -> tuple[Path, str]:
    """Copy a bundle to ``$SLUICE_HOME/bundles/<system>/<digest>``, by hard links where the disk allows.

    Out: the directory and its digest; an earlier copy of the same content stays as it is. Errors: `SluiceError` if
    there is no bundle, or it cannot be written (a full disk); nothing half-written stays behind.
    """
    if not (bundle / "bundle.json").is_file():
        raise SluiceError(f"{bundle}: no bundle.json; register a bundle directory, as the step 'pack' writes it")
    content = digest(bundle)
    target = home() / "bundles" / system / content
    if target.is_dir() and digest(target) == content:
        return target, content
    try:
        with atomic_dir(target) as scratch:
            shutil.copytree(bundle, scratch, dirs_exist_ok=True, copy_function=_link_or_copy)
    except (OSError, shutil.Error) as error:
        raise SluiceError(
            f"{target}: the bundle could not be stored ({error}); make room there and run again"
        ) from error
    return target, content


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
