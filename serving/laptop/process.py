"""Start the laptop's control plane as a process of its own, and find the one that runs. Standard library only."""

import base64
import fcntl
import functools
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file
from serving.contract.processes import die_with_parent

_INFO, _LOCK, KUBECONFIG = "control.json", "control.lock", "kubeconfig"


@dataclass(frozen=True)
class Info:
    """A running control plane: its process id, the URL of its API, and the kubeconfig that leads there."""

    pid: int
    api: str
    kubeconfig: Path


@dataclass(frozen=True)
class Access:
    """The API's URL, that of the same with TLS and the certificate (PEM) it shows there, and the token it wants."""

    api: str
    secure: str
    certificate: bytes
    token: str


def start(home: Path, port_base: int = 8080, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start a control plane for ``home`` in a session of its own, so that Ctrl-C does not reach it; it dies with us.

    ``env`` is laid over this process's environment. Its output goes to ``home``/logs/control.log. Stop it with
    ``terminate()``; wait for it with `wait_until_up`.
    """
    logs = home / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "serving.laptop", "--home", str(home), "--port-base", str(port_base)]
    with (logs / "control.log").open("ab") as out:
        return subprocess.Popen(
            command, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            start_new_session=True, preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )  # fmt: skip


def wait_until_up(home: Path, timeout: float = 20, process: subprocess.Popen[bytes] | None = None) -> Info:
    """Wait until the API answers. SluiceError after ``timeout`` seconds, or at once when ``process`` has ended."""
    log, until = home / "logs" / "control.log", time.monotonic() + timeout
    while time.monotonic() < until:
        info = running(home)
        if info is not None and _answers(info.api):
            return info
        if process is not None and process.poll() is not None:
            raise SluiceError(f"the control plane of {home} ended with code {process.returncode}: {_tail(log)}")
        time.sleep(0.05)
    raise SluiceError(f"the control plane of {home} did not answer in {timeout:.0f} s; see {log}")


def running(home: Path) -> Info | None:
    """The control plane that holds ``home``, or None."""
    path = home / _LOCK
    if not path.exists():
        return None
    with path.open("r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return _info(home)
    return None


def hold(home: Path) -> IO[str]:
    """Take ``home`` for this process until it ends; SluiceError naming the holder when there is one."""
    home.mkdir(parents=True, exist_ok=True)
    lock = (home / _LOCK).open("a+")
    for _ in range(20):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (home / _INFO).unlink(missing_ok=True)
            return lock
        except OSError:
            time.sleep(0.05)  # `running` holds it for an instant
    lock.close()
    info = _info(home)
    who = f"process {info.pid}, API {info.api}" if info else "another process that is just starting"
    raise SluiceError(f"{home} already has a control plane ({who}); use that one, stop it, or name another --home")


def announce(home: Path, access: Access) -> None:
    """Write who we are, and the kubeconfig, for its owner alone; the API answers by now.

    The kubeconfig's current context goes over TLS, since kubectl sends its token nowhere else.
    """
    secure = {"server": access.secure, "certificate-authority-data": base64.b64encode(access.certificate).decode()}
    clusters = {"laptop-plain": {"server": access.api}, "laptop": secure}
    contexts = {name: {"cluster": name, "user": "laptop", "namespace": "default"} for name in clusters}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster} for name, cluster in clusters.items()],
        "users": [{"name": "laptop", "user": {"token": access.token}}],
        "contexts": [{"name": name, "context": context} for name, context in contexts.items()],
        "current-context": "laptop",
    }
    with atomic_file(home / KUBECONFIG) as scratch:
        scratch.chmod(0o600)
        scratch.write_text(json.dumps(config, indent=1))  # JSON is YAML
    with atomic_file(home / _INFO) as scratch:
        scratch.write_text(json.dumps({"pid": os.getpid(), "api": access.api}))


def _info(home: Path) -> Info | None:
    try:
        row = json.loads((home / _INFO).read_text())
    except (OSError, ValueError):
        return None
    return Info(row["pid"], row["api"], home / KUBECONFIG)


def _answers(api: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{api}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return " / ".join(lines[-3:]) or "it wrote nothing"
