"""`sluice submit --wait`: watch a run at Kubeflow Pipelines, show its steps as they end, and say which one failed."""

import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from pipelines.kubeflow import Away, Kubeflow, spoken
from serving.contract.errors import SluiceError

ENDED = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
MARKS = {"SUCCEEDED": "[green]✓[/]", "SKIPPED": "[dim]=[/]", "CACHED": "[dim]=[/]", "FAILED": "[red]✗[/]"}
EVERY_S = 5.0
"""Seconds between two looks at a run."""
PATIENCE = 12
"""How many looks in a row may fail."""


def follow(kubeflow: Kubeflow, run_id: str, titles: Mapping[str, str], console: Console) -> None:
    """Return when the run has succeeded.

    Args:
        kubeflow: where the run is.
        run_id: the run.
        titles: the steps' names for people, by the names of their tasks.
        console: where progress is drawn.

    Raises:
        SluiceError: the run failed or was cancelled (names the failing steps and where to look), or KFP could not be
            asked any more; the run itself goes on then.
    """
    page = kubeflow.link(f"runs/details/{run_id}")
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<36}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    seen: set[str] = set()
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("waiting for a first step", total=None)
        while True:
            run = _look(kubeflow, run_id, page)
            steps = list(_steps(run, titles))
            for key, title, state, seconds in steps:
                if state in ENDED and key not in seen:
                    seen.add(key)
                    progress.console.print(f"{MARKS.get(state, '?')} {title:<36} {seconds:6.0f} s")
            going = [title for _, title, state, _ in steps if state == "RUNNING"]
            progress.update(bar, completed=len(seen), total=len(titles), description=going[-1] if going else "waiting")
            if run.state in ENDED:
                break
            time.sleep(EVERY_S)
    if run.state != "SUCCEEDED":
        raise SluiceError(_why(run, titles, page))


def _look(kubeflow: Kubeflow, run_id: str, page: str) -> Any:
    """The run as it is now; a network that fails for a while is no reason to give up on a run of hours."""
    for attempt in range(PATIENCE):
        try:
            with spoken(kubeflow.host):
                return kubeflow.client.runs.run_service_get_run(run_id=run_id, _request_timeout=(10, 30))
        except SluiceError as error:
            if not isinstance(error, Away) or attempt == PATIENCE - 1:
                raise SluiceError(f"{error}; the run goes on: {page}") from error
        time.sleep(EVERY_S)
    raise AssertionError


def _tasks(run: Any) -> Iterable[Any]:
    return (run.run_details and run.run_details.task_details) or ()


def _steps(run: Any, titles: Mapping[str, str]) -> Iterable[tuple[str, str, str, float]]:
    """Key, title, state and seconds of each step; the engine's own pods and groups of steps are left out."""
    for task in _tasks(run):
        if title := _title(task, titles):
            yield str(task.task_id), title, str(task.state), _seconds(task.start_time, task.end_time)


def _title(task: Any, titles: Mapping[str, str]) -> str:
    name = str(task.display_name)
    return titles.get(name, name if name in titles.values() else "")


def _seconds(start: datetime | None, end: datetime | None) -> float:
    return max(0.0, (end - start).total_seconds()) if start and end else 0.0


def _why(run: Any, titles: Mapping[str, str], page: str) -> str:
    if run.state == "CANCELED":
        return f"the run was cancelled: {page}"
    failed = [task for task in _tasks(run) if task.state == "FAILED"]
    steps = list(dict.fromkeys(filter(None, (_title(task, titles) for task in failed))))
    names = steps or list(dict.fromkeys(str(task.display_name) for task in failed))
    told = [task.error.message for task in failed if task.error and task.error.message and _title(task, titles)]
    reason = (told or [run.error.message if run.error else ""])[0]
    where = f"the run failed at {', '.join(repr(name) for name in names)}" if names else "the run failed"
    return f"{where}{': ' + reason if reason else ''} ({page})"
