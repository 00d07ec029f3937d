"""What a person sees while a long loop runs: a bar on a terminal, a line now and then elsewhere."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, lines: int = 10) -> Iterator[Callable[[int, int, float], None]]:
    """Yield ``tick(done, total, loss)``; a bar on a terminal or with SLUICE_PROGRESS=1, else ``lines`` lines."""
    if not (sys.stderr.isatty() or os.environ.get("SLUICE_PROGRESS") == "1"):

        def line(done: int, total: int, loss: float) -> None:
            if done % max(1, total // lines) == 0 or done == total:
                print(f"{what}: step {done}/{total}, loss {loss:.3f}", file=sys.stderr, flush=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what)
        yield lambda done, total, loss: bar.update(
            task, completed=done, total=total, description=f"{what} (loss {loss:.3f})"
        )
