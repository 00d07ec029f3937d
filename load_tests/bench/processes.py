"""Servers as child processes of the bench: started, waited for, pinned to cores, and always ended."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from serving.contract.errors import SluiceError


@dataclass(frozen=True)
class Running:
    """A server that answers: its address, the seconds from start to ready, and its process id."""

    url: str
    seconds: float
    pid: int

    def memory_mb(self) -> float:
        """Resident memory now, in MB; 0 where the system does not tell."""
        with contextlib.suppress(OSError, IndexError, ValueError):
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        return 0.0


def split_cores(threads: int) -> tuple[set[int], set[int]]:
    """Cores for a server (as many as its threads) and for the load; both empty where nothing can be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) <= threads:
        return set(), set()
    return set(cores[:threads]), set(cores[threads:])


def pin(cores: set[int]) -> None:
    """Keep this process, and those it starts, on ``cores``; nothing if empty."""
    if cores:
        os.sched_setaffinity(0, cores)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def server(module: Sequence[str], port: int, ready: str, cores: set[int], within: float = 120.0) -> Iterator[Running]:
    """Run ``python -m module…`` until the block ends; it counts as started once GET ``ready`` answers 200.

    Errors: `SluiceError` with the last lines it wrote, if it ends or is not ready ``within`` seconds.
    """
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as written:
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            stdout=written,
            stderr=subprocess.STDOUT,
            preexec_fn=(lambda: pin(cores)) if cores else None,
        )
        try:
            while not _answers(url + ready):
                if process.poll() is not None or time.perf_counter() - started > within:
                    written.seek(0)
                    said = written.read().decode(errors="replace").strip().splitlines()[-5:]
                    raise SluiceError(f"{module[0]} did not start: " + " | ".join(said))
                time.sleep(0.02)
            yield Running(url, time.perf_counter() - started, process.pid)
        finally:
            _end(process)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
