"""What a laptop needs around a pipeline: the control plane that serves, Feast's feature server, and an end to both."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pipelines import run as runs
from pipelines.client import gates_table, last_verdicts, not_ready, services
from pipelines.systems import systems
from serving.contract.files import home
from serving.contract.processes import die_with_parent
from serving.laptop import process

READY_S = 60.0  # what the control plane gives a new revision
console = Console(highlight=False)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class FeatureServer:
    """Feast's own HTTP server over the repository's online store, started once there is a registry to serve from."""

    def __init__(self) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start the server if it is not running and ``feast apply`` has been done; returns at once."""
        from feature_repo.paths import config_file, features_dir

        with self._lock:
            if self._process is not None or not (features_dir() / "registry.db").exists():
                return
            logs = home() / "logs"
            logs.mkdir(parents=True, exist_ok=True)
            feast = [str(Path(sys.executable).with_name("feast")), "-f", str(config_file()), "serve"]
            options = ["--host", "127.0.0.1", "--port", str(self.port), "--no-access-log", "--max-requests", "0"]
            with (logs / "feature-server.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [*feast, *options],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    # SIGTERM, not SIGKILL: its workers outlive a master that could not end them.
                    preexec_fn=functools.partial(die_with_parent, os.getpid(), signal.SIGTERM),
                    start_new_session=True,
                )

    def stop(self) -> None:
        """End the server and its workers."""
        with self._lock:
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGTERM)
                self._process.wait(10)


@contextlib.contextmanager
def serving_here(port: int) -> Iterator[FeatureServer | None]:
    """Bring up the control plane and the feature server for this home; end both on leaving.

    Where a control plane already runs for this home (`sluice serve` in another terminal) it is used and left alone, and
    None is yielded.
    """
    root = home() / "serving"
    if process.running(root):
        yield None
        return
    features = FeatureServer()
    environment = {**os.environ, "SLUICE_FEATURE_SERVER": features.url}
    features.start()
    plane = process.start(root, port, environment)
    try:
        process.wait_until_up(root, 30, plane)
        yield features
    finally:
        plane.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            plane.wait(40)
        features.stop()


@contextlib.contextmanager
def release_on_laptop(system: str, arguments: Mapping[str, str], port: int) -> Iterator[bool]:
    """Run a system's pipeline with a cluster's stand-in beside it; yield, while it serves, whether every gate passed.

    Prints every step, and for each endpoint the table of verdicts and the path of its report.
    """
    with serving_here(port) as features:

        def after(step: str) -> None:
            if step.startswith("featurize") and features:
                features.start()

        declared = systems()[system]
        console.print(f"[bold]{system}[/]: {declared.source.describe(arguments)}")
        outcome = runs.run(f"pipelines.systems.{system}.pipeline:{system}", arguments, console, after)
        done = [step for step in outcome.steps if not step.cached]
        console.print(
            f"{len(done)} steps run, {len(outcome.steps) - len(done)} from the cache, {outcome.seconds:.0f} s"
            f"\n[dim]log: {outcome.log}[/]"
        )
        endpoints = [endpoint.name for endpoint in declared.endpoints]
        for endpoint in endpoints:
            console.print(gates_table(endpoint))
            console.print(f"report: {home() / 'reports' / f'{endpoint}.html'}", soft_wrap=True)
        yield all(verdict.passed for endpoint in endpoints for verdict in last_verdicts(endpoint))


def wait_for_interrupt() -> None:
    """Serve until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with contextlib.suppress(KeyboardInterrupt):
        late = _wait_until_ready(stop)
        for name, url in services().items():
            console.print(
                f"{name}: {url}{f' (not ready: {escape(late[name])})' if name in late else ''}", soft_wrap=True
            )
        console.print("serving; Ctrl-C stops everything")
        while not stop.is_set():
            time.sleep(0.2)


def _wait_until_ready(stop: threading.Event) -> dict[str, str]:
    """Wait for every service, as long as a new revision has to get ready; returns those that are not, and why."""
    until = time.monotonic() + READY_S
    with console.status("starting"):
        while (late := not_ready()) and time.monotonic() < until and not stop.wait(0.2):
            pass
    return late
