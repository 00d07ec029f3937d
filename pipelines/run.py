"""`sluice run`: start a pipeline's process, show its steps as they go, and say in one sentence what went wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from serving.contract.errors import SluiceError
from serving.contract.files import home

_STARTED = re.compile(r"Executing task \S*?'([^']+)'")
_ENDED = re.compile(r"Task \S*?'([^']+)'\S* finished with status \S*?(SUCCESS|FAILURE)")
_CACHED = re.compile(r"Task (\S+) cache hit")
_TITLES = re.compile(r"^TITLES (\{.*\})$")
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_SPOKEN = re.compile(r"(?:serving\.errors\.)?SluiceError: (.+)")
_STEP_LINE = re.compile(r"^ {12}(?!\[KFP|\s|[{}\"\]])(\S.{0,200})")


@dataclass
class Step:
    """One task of a run as seen in the log: seconds it took, and whether it came from the cache."""

    name: str
    seconds: float = 0.0
    cached: bool = False


@dataclass
class Outcome:
    """What a run left: steps in order of their end, its log, and its seconds."""

    log: Path
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0


def run(
    reference: str, arguments: Mapping[str, str], console: Console, on_step: Callable[[str], None] = lambda name: None
) -> Outcome:
    """Run a system's pipeline to its end and show every step.

    Args:
        reference: ``module:pipeline``.
        arguments: the pipeline's parameters.
        console: where progress is drawn; KFP's own log goes to ``$SLUICE_HOME/logs``.
        on_step: called with the task's name when a step has ended.

    Raises:
        SluiceError: a step failed; the sentence is the step's own where it has one, and names the log.
        KeyboardInterrupt: passed on after every process of the run has been ended.
    """
    logs = home() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    system = reference.partition(":")[2]
    outcome = Outcome(logs / f"{system}-{time.strftime('%Y%m%d-%H%M%S')}.log")
    began = time.monotonic()
    with outcome.log.open("w+", encoding="utf-8", errors="replace") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "pipelines.execute", reference, json.dumps(dict(arguments))],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "SLUICE_PROGRESS": "0"},
        )
        try:
            _show(child, outcome, console, on_step)
        finally:
            _end(child)
    outcome.seconds = time.monotonic() - began
    if child.returncode != 0:
        raise SluiceError(_why(outcome.log))
    return outcome


def _show(child: "subprocess.Popen[bytes]", outcome: Outcome, console: Console, on_step: Callable[[str], None]) -> None:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<36}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    begun: dict[str, float] = {}
    titles: dict[str, str] = {}
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("starting", total=None, note="")
        for line in _lines(child, outcome.log):
            if match := _TITLES.match(line):
                titles |= json.loads(match[1])
            _account(line, outcome, begun, titles, progress, bar, on_step)


def _account(
    line: str,
    outcome: Outcome,
    begun: dict[str, float],
    titles: Mapping[str, str],
    progress: Progress,
    bar: TaskID,
    on_step: Callable[[str], None],
) -> None:
    if match := _STARTED.search(line):
        begun[match[1]] = time.monotonic()
        progress.update(bar, description=titles.get(match[1], match[1]), note="")
    elif match := _CACHED.search(line):
        outcome.steps.append(Step(match[1], cached=True))
        on_step(match[1])
    elif (match := _ENDED.search(line)) and match[1] in begun:
        step = Step(match[1], time.monotonic() - begun.pop(match[1]))
        outcome.steps.append(step)
        mark = "[green]✓[/]" if match[2] == "SUCCESS" else "[red]✗[/]"
        progress.console.print(f"{mark} {titles.get(step.name, step.name):<36} {step.seconds:6.1f} s")
        on_step(step.name)
    elif match := _STEP_LINE.match(line):
        progress.update(bar, note=match[1].replace("[", r"\[")[:80])


def _lines(child: "subprocess.Popen[bytes]", log: Path) -> Iterator[str]:
    with log.open(encoding="utf-8", errors="replace") as stream:
        rest = ""
        while True:
            running = child.poll() is None
            rest += stream.read()
            *whole, rest = rest.split("\n")
            yield from (_ANSI.sub("", line) for line in whole)
            if not running:
                return
            time.sleep(0.1)


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End the run's whole process group: a step may have started processes of its own."""
    for sign, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(child.pid, sign)
            child.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _why(log: Path) -> str:
    text = _ANSI.sub("", log.read_text(encoding="utf-8", errors="replace"))
    spoken = _SPOKEN.findall(text)
    failed = re.findall(r"Task '([^']+)' finished with status FAILURE", text)
    raised = [line.strip() for line in text.splitlines() if re.match(r"\s*(\w+\.)*\w*(Error|Exception): ", line)]
    last = [line for line in raised if "Inner task failed" not in line]  # kfp's own, which only repeats the step's name
    reason = spoken[-1] if spoken else (last[-1] if last else "the run's process ended early")
    if "[Errno 28]" in reason:
        reason = "no space left on the disk; free some and run the same command again, finished steps are kept"
    return f"{failed[-1] + ': ' if failed else ''}{reason.strip()} (log: {log})"
