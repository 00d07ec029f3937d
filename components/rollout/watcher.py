"""What a person sees while a rollout runs, and the timeline that its report draws."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """Something that happened: epoch seconds, percent of the traffic that the canary has from then on, one clause."""

    at: float
    percent: int
    text: str


@dataclass
class RolloutWatcher:
    """Collects events; prints each to stderr, and a bar for waits where someone is looking (a terminal).

    ``opened_at`` and ``withdrawn_at``: epoch seconds at which users' traffic first reached the release, and at which it
    had none any more.
    """

    quiet: bool = False
    events: list[Event] = field(default_factory=list)
    percent: int = 0
    began: float = field(default_factory=time.time)
    opened_at: float | None = None
    withdrawn_at: float | None = None

    def say(self, text: str, percent: int | None = None) -> None:
        """Note an event; ``percent`` when the canary's share changed with it."""
        if percent is not None:
            self.percent = percent
        self.events.append(Event(time.time(), self.percent, text))
        if not self.quiet:
            print(f"rollout {time.time() - self.began:5.1f} s  {text}", file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, text: str, seconds: float) -> Iterator[Callable[[float], None]]:
        """Yield a function to call with the seconds gone."""
        watched = sys.stderr.isatty() or os.environ.get("SLUICE_PROGRESS") == "1"
        if self.quiet or not watched:
            yield lambda gone: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(text, total=seconds)
            yield lambda gone: progress.update(task, completed=gone)
