"""One revision's predictor process: started, probed, restarted after a crash, drained before it is stopped."""

import asyncio
import contextlib
import functools
import os
import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from serving.contract.errors import SluiceError
from serving.contract.processes import die_with_parent
from serving.laptop.router import Upstream
from serving.laptop.template import Launch, Probe, plan, progress_deadline

_TAIL = 1500  # bytes of log that a failure quotes


@dataclass(frozen=True)
class Patience:
    """Seconds: for a new revision to get ready, for requests under way at a switch, and from SIGTERM to SIGKILL."""

    deadline: float = 60.0
    drain: float = 60.0
    grace: float = 15.0


class Ports:
    """Free ports for predictors, below the range that the system deals out to outgoing connections."""

    def __init__(self, low: int = 20000, high: int = 32000):
        self._low, self._high = low, high
        self._taken: set[int] = set()

    def take(self) -> int:
        """A port that nothing listens on; SluiceError when there is none."""
        for port in random.sample(range(self._low, self._high), 500):
            if port not in self._taken and _free(port):
                self._taken.add(port)
                return port
        raise SluiceError(f"no free port between {self._low} and {self._high}; stop what listens there")

    def give_back(self, port: int) -> None:
        """The port's user is gone."""
        self._taken.discard(port)


class Predictor:
    """Keeps one predictor process alive; ``upstream`` tells the router where it is and whether it is ready.

    ``state`` is starting, ready, down (crashed or not answering; it is being restarted), failed (never got ready in
    time; given up) or stopping; ``failure`` says what went wrong last, "" when all is well.
    """

    def __init__(
        self,
        revision: str,
        template: dict[str, Any],
        log: Path,
        ports: Ports,
        patience: Patience,
        changed: Callable[[], None],
        was_ready: bool = False,
    ):
        self.revision, self.was_ready = revision, was_ready
        self.state, self.failure, self.exit_code, self.failed_at = "starting", "", 0, ""
        self.upstream = Upstream(revision)
        self.upstream.timeout = float(template["predictor"].get("timeout") or 300)
        self._template, self._log, self._ports, self._patience = template, log, ports, patience
        self._changed = changed
        self._killed_for = ""
        self.grpc_port = 0
        self._moved: dict[int, int] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._deadline = progress_deadline(template["annotations"]) or patience.deadline
        self._gives_up_at = time.monotonic() + self._deadline
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def address(self) -> str:
        """The process's own HTTP address, past the router; "" before it was started."""
        return self.upstream.address or ""

    async def stop(self) -> None:
        """Wait for the requests under way, then SIGTERM, then after the grace period SIGKILL."""
        self.state = "stopping"
        await self.upstream.drained(self._patience.drain)
        self.upstream.ready = False
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._patience.grace)
        self._kill()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self.upstream.close()
        for port in self._moved.values():
            self._ports.give_back(port)

    async def _run(self) -> None:
        pause = 0.5
        while self.state != "stopping":
            begun = time.monotonic()
            try:
                await self._attempt()
            except (SluiceError, OSError) as error:
                self._down(str(error), 0)
            if not self.was_ready and time.monotonic() > self._gives_up_at:
                self._give_up()
                return
            pause = 0.5 if time.monotonic() - begun > 60 else min(pause * 2, 10)
            if not self.was_ready:
                pause = min(pause, max(0.1, self._gives_up_at - time.monotonic()))
            await asyncio.sleep(pause)

    async def _attempt(self) -> None:
        """One life of the process, from start to exit."""
        launch = plan(self._template, self.revision, self._local_port)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            begun_at = log.tell()
            self._process = await asyncio.create_subprocess_exec(
                *launch.argv,
                env=launch.env,
                cwd=launch.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=functools.partial(die_with_parent, os.getpid()),
            )
        self._killed_for, self.grpc_port = "", launch.grpc_port
        self.upstream.address = f"http://127.0.0.1:{launch.port}"
        watch = asyncio.create_task(self._watch(launch))
        try:
            code = await self._process.wait()
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
        if self.state not in ("stopping", "failed"):
            self._kill()
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
            why = self._killed_for or f"the predictor {how}"
            self._down(f"{why}: {self._tail(begun_at)}", code if code >= 0 else 128 - code)

    async def _watch(self, launch: Launch) -> None:
        """Probe until cancelled; kill what never gets ready in time, or what its liveness probe calls dead."""
        misses = dead = 0
        seen = False
        while True:
            if await self._answers(launch.ready):
                misses, seen = 0, True
                self._ready()
            else:
                misses += 1
                if self.upstream.ready and misses >= launch.ready.failures:
                    self._down(f"readiness probe {launch.ready.path} failed {misses} times", 0)
            if not self.was_ready and time.monotonic() > self._gives_up_at:
                self._kill(f"not ready within {self._deadline:.0f} s, {launch.ready.path} gives no 200")
                return
            if launch.alive and seen and misses:
                dead = 0 if await self._answers(launch.alive) else dead + 1
                if dead >= launch.alive.failures:
                    self._kill(f"liveness probe {launch.alive.path} failed {dead} times")
                    return
            await asyncio.sleep(launch.ready.period if seen else 0.1)

    async def _answers(self, probe: Probe) -> bool:
        timeout = aiohttp.ClientTimeout(total=probe.timeout)
        try:
            async with self.upstream.session.get(f"{self.address}{probe.path}", timeout=timeout) as answer:
                return 200 <= answer.status < 400
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            return False

    def _ready(self) -> None:
        if self.state in ("starting", "down"):
            self.state, self.failure, self.was_ready = "ready", "", True
            self.upstream.ready = True
            self._changed()

    def _down(self, failure: str, code: int) -> None:
        self.upstream.ready = False
        if self.state == "stopping":
            return
        self.state, self.failure, self.exit_code = "down", failure, code
        self.failed_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._changed()

    def _give_up(self) -> None:
        if self.state != "stopping":
            if not self._killed_for:
                self._down(f"not ready within {self._deadline:.0f} s: {self.failure}", self.exit_code)
            self.state = "failed"
            self._changed()

    def _local_port(self, asked: int) -> int:
        if asked not in self._moved:
            self._moved[asked] = self._ports.take()
        return self._moved[asked]

    def _kill(self, why: str = "") -> None:
        """SIGKILL to the process and to whatever it started; ``why`` becomes the failure that is told."""
        self._killed_for = why or self._killed_for
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _tail(self, begun_at: int) -> str:
        try:
            with self._log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(begun_at, size - _TAIL))
                text = log.read().decode(errors="replace").strip()
        except OSError:
            text = ""
        return f"{text} (see {self._log})" if text else f"it wrote nothing (see {self._log})"


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
