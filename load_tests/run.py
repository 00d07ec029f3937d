"""Run Locust headless against one or more addresses at once, bounded in time, and read its samples back."""

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from load_tests.plan import COLUMNS, PLAN_VARIABLE, LoadPlan, LoadTarget
from serving.contract.errors import SluiceError
from serving.contract.processes import die_with_parent

if TYPE_CHECKING:
    import pandas as pd

LOCUSTFILE = Path(__file__).parent / "locustfile.py"
START_UP_S = 30.0
Tick = Callable[[float], None]


def run_targets(
    targets: Sequence[LoadTarget],
    model: str,
    asked: list[dict[str, Any]],
    seconds: float,
    out: Path,
    timeout_s: float = 5.0,
    tick: Tick | None = None,
) -> "pd.DataFrame":
    """Put several addresses under load in the same window, by the v1 protocol; see `run_plan`."""
    return run_plan(LoadPlan(model, list(targets), asked, "", timeout_s, seconds), out, tick)


def run_plan(plan: LoadPlan, out: Path, tick: Tick | None = None) -> "pd.DataFrame":
    """Carry out a plan by one Locust process; `load_tests.protocols.headers` says what goes with each request.

    Returns one row a request: at (float, epoch s, end of the answer), latency_ms (float), status (int, 0 = no
    connection), target, revision, persona, asked, task, error (str), units (float), correct (bool or None). ``tick`` is
    called some five times a second with the seconds gone. Locust is killed on any error and
    never outlives the window by more than its start-up and the requests' timeout. Raises SluiceError with the end of
    Locust's log when it failed, or no request was made.
    """
    out.mkdir(parents=True, exist_ok=True)
    samples, place, log = out / "samples.csv", out / "plan.json", out / "locust.log"
    samples.unlink(missing_ok=True)
    replace(plan, out=str(samples.resolve())).write(place)
    root = str(Path(__file__).parents[1])
    modules = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, PLAN_VARIABLE: str(place.resolve()), "PYTHONPATH": modules}
    with tempfile.TemporaryDirectory() as quiet, log.open("w") as stream:
        # An empty directory of its own, or Locust would read a locust.conf that lies about here.
        process = subprocess.Popen(
            _command(plan.targets, plan.seconds, plan.timeout_s),
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            cwd=quiet,
            preexec_fn=die_with_parent,
        )
        code = _watch(process, plan.seconds + 2 * plan.timeout_s + START_UP_S, tick)
    if code != 0:
        raise SluiceError(f"Locust stopped with status {code}; its log {log} ends: {log.read_text()[-600:].strip()}")
    return read_samples(samples)


def _command(targets: Sequence[LoadTarget], seconds: float, timeout_s: float) -> list[str]:
    users = str(sum(target.users for target in targets))
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--users", users]
    # The locustfile ends the window, counted from the first answer; this ends a run without any.
    command += ["--spawn-rate", users, "--run-time", f"{math.ceil(seconds + timeout_s)}s", "--only-summary"]
    return [
        *command,
        "--stop-timeout",
        f"{math.ceil(timeout_s)}s",
        "--exit-code-on-error",
        "0",
        "--loglevel",
        "WARNING",
    ]


def _watch(process: "subprocess.Popen[bytes]", limit: float, tick: Tick | None) -> int:
    began = time.monotonic()
    try:
        while process.poll() is None:
            gone = time.monotonic() - began
            if gone > limit:
                raise SluiceError(f"Locust did not end within {limit:.0f} s and was killed")
            if tick:
                tick(gone)
            time.sleep(0.2 if tick else 0.05)
        return process.returncode
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def read_samples(path: Path) -> "pd.DataFrame":
    """Read a samples file; see `run_targets` for the columns."""
    import pandas as pd

    if not path.is_file():
        raise SluiceError(f"no samples at {path}: Locust made no request (its log lies beside)")
    text = dict.fromkeys(("target", "revision", "persona", "asked", "task", "error", "correct"), str)
    table = pd.read_csv(path, dtype=text, keep_default_na=False)
    if list(table.columns) != list(COLUMNS):
        raise SluiceError(f"{path}: columns {list(table.columns)}; expected {list(COLUMNS)}")
    marks = {"True": True, "False": False}
    table["correct"] = pd.Series([marks.get(word) for word in table["correct"]], index=table.index, dtype=object)
    return table
