"""How far the encoding is: a bar on a terminal, plain lines in a log."""

import logging
import os
import sys
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_EVERY_S = 5.0


def progress(label: str) -> Callable[[int, int], None]:
    """A callback ``done(so far, in all)`` that shows ``label`` and the rate.

    A rich bar when stderr is a terminal or ``SLUICE_PROGRESS=1``; else a log line every five seconds.
    """
    if sys.stderr.isatty() or os.environ.get("SLUICE_PROGRESS") == "1":
        return _bar(label)
    began = last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _EVERY_S or done == total:
            last = now
            log.info("%s: %d of %d, %.0f a second", label, done, total, done / max(now - began, 1e-9))

    return report


def _bar(label: str) -> Callable[[int, int], None]:
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True))
    task = bar.add_task(label, total=None)

    def report(done: int, total: int) -> None:
        if not bar.live.is_started:
            bar.start()
        bar.update(task, completed=done, total=total)
        if done == total:
            bar.stop()

    return report
