"""A home of its own and the command line as users have it."""

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path


class Laptop:
    """One user's machine: every command runs as a process, in a home below ``root``."""

    def __init__(self, root: Path) -> None:
        self.home = root / "home"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = {**os.environ, "SLUICE_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        self.environment.pop("KUBECONFIG", None)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        out, _ = process.communicate(timeout=1500)
        return process.returncode, out

    def until_answered(self, *arguments: str) -> str:
        """Repeat a command while the servers start; its output once it succeeds."""
        for _ in range(100):
            code, out = self.run(*arguments)
            if code == 0:
                return out
            time.sleep(0.2)
        raise AssertionError(out)

    def processes(self) -> list[str]:
        """Command lines of everything that still runs for this home."""
        found = []
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and str(self.home) in (process / "environ").read_text(errors="replace"):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return [line for line in found if line]

    def wait_for_none(self, seconds: float) -> list[str]:
        until = time.monotonic() + seconds
        while self.processes() and time.monotonic() < until:
            time.sleep(0.2)
        return self.processes()

    def log(self, system: str) -> str:
        logs = sorted((self.home / "logs").glob(f"{system}-*.log"))
        return logs[-1].read_text(errors="replace") if logs else ""


def steps_run(output: str) -> set[str]:
    """Display names of the steps that a run executed, the cached ones left out."""
    return set(re.findall(r"✓ (.+?) +\d+\.\d s", output))
