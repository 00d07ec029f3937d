"""Who is the challenger to be compared with?"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from components.common import registry
from serving.contract.errors import SluiceError
from serving.contract.files import digest


class Champion(NamedTuple):
    """The version to beat and its bundle's place (path or URL) and directory here; "base" has none of both."""

    version: str
    path: str | None
    local: Path | None = None


def find_champion(system: str, challenger: Path) -> Champion:
    """The champion of ``system`` at 100 %, or of the time when this very challenger was judged.

    A challenger that was registered before (same content) is compared with what it was compared with then, so a run
    with nothing changed finds the same champion and every later step in the cache; comparing it with today's champion
    could mean comparing it with itself. Errors: `SluiceError` if the champion's bundle is gone from the disk.
    """
    if not registry.exists():
        return Champion(registry.BASE, None)
    known = registry.find(system, digest(challenger))
    if known is None:
        entry = registry.champion_of(system)
    else:
        entry = None if known.compared_with == registry.BASE else registry.version_of(system, known.compared_with)
    if entry is None:
        return Champion(registry.BASE, None)
    try:
        return Champion(entry.version, entry.path, registry.bundle_of(entry))
    except SluiceError as error:
        raise SluiceError(
            f"champion of {system}, version {entry.version}: {error}, or move the alias champion to a version that "
            "still has one"
        ) from error
