"""How far a long loop is: a bar on a terminal or with SLUICE_PROGRESS=1; elsewhere lines now and then, or silence."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


def _wanted() -> bool:
    return sys.stderr.isatty() or os.environ.get("SLUICE_PROGRESS") == "1"


def track(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Pass ``items`` on; show a bar of ``total`` steps, or nothing (the log has a line when it is done)."""
    if not _wanted():
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(items, total=total, description=what)


@contextmanager
def progress(what: str, lines: int = 10) -> Iterator[Callable[..., None]]:
    """Yield ``tick(done, total, note="")``, which shows a bar or about ``lines`` lines on stderr."""
    if not _wanted():
        shown = 0

        def line(done: int, total: int, note: str = "") -> None:
            nonlocal shown
            if done * lines // max(1, total) > shown or done == total:
                shown = done * lines // max(1, total)
                print(f"{what}: {done}/{total}{note and f', {note}'}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=None)

        def move(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, description=f"{what} ({note})" if note else what)

        yield move
