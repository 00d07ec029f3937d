"""How far a long loop is: a bar on a terminal, silence elsewhere (the log has a line when it is done)."""

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Pass ``items`` on; show a bar of ``total`` steps where stderr is a terminal or SLUICE_PROGRESS is 1."""
    if not (sys.stderr.isatty() or os.environ.get("SLUICE_PROGRESS") == "1"):
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=what)
