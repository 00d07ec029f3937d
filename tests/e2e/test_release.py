"""The whole road on a slice of transformers: killed and resumed, cached, served, asked, voted on, stopped."""

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e
FILES = ("generation/*.py", "trainer*.py", "data/data_collator.py", "pipelines/text*.py", "utils/hub.py")
SETTINGS = Path(__file__).with_name("small.yaml")


class Laptop:
    """A home of its own, a slice of the installed transformers, and the command line as users have it."""

    def __init__(self, root: Path) -> None:
        self.home, self.source = root / "home", root / "source"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        spec = importlib.util.find_spec("transformers")
        assert spec and spec.origin
        package = Path(spec.origin).parent
        for pattern in FILES:
            for file in package.glob(pattern):
                target = self.source / file.relative_to(package)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
        self.environment = {**os.environ, "SLUICE_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}
        self.environment.pop("KUBECONFIG", None)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        out, _ = process.communicate(timeout=1200)
        return process.returncode, out

    def release(self, *more: str) -> list[str]:
        where = ["--source", str(self.source), "--settings", str(SETTINGS), "--port", str(self.port)]
        return ["run", "codebase", *where, *more]

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

    def log(self) -> str:
        logs = sorted((self.home / "logs").glob("codebase-*.log"))
        return logs[-1].read_text(errors="replace") if logs else ""


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    yield Laptop(tmp_path_factory.mktemp("laptop"))


def test_a_run_killed_in_training_is_taken_up_by_the_same_command(laptop: Laptop) -> None:
    first = laptop.start(*laptop.release())
    checkpoints = laptop.home / "checkpoints"
    until = time.monotonic() + 600
    while not list(checkpoints.glob("*/*")) and time.monotonic() < until and first.poll() is None:
        time.sleep(0.1)
    assert list(checkpoints.glob("*/*")), laptop.log()[-2000:]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert laptop.wait_for_none(15) == []
    code, out = laptop.run(*laptop.release())
    assert code == 0, out + laptop.log()[-3000:]
    again = set(re.findall(r"[✓] (\S+)", out))
    assert "train" in again and not {"ingest", "make-qa", "validate", "base", "search"} & again
    assert re.search(r"resum", laptop.log(), re.I), "training began from its checkpoint"
    assert "canary" in out, "the base model went first, the challenger beside it"
    report = (laptop.home / "reports" / "codebase.html").read_text()
    assert "Promoted" in report and not re.search(r"<(script|link|img)[^>]+(src|href)=.?http", report)


def test_nothing_changed_means_nothing_redone(laptop: Laptop) -> None:
    code, out = laptop.run(*laptop.release())
    assert code == 0, out
    assert set(re.findall(r"[✓] (\S+)", out)) <= {"champion", "rollout", "report", "report-2"}


def test_a_missing_base_model_is_one_clear_error_and_leaves_the_champion(laptop: Laptop) -> None:
    code, out = laptop.run(*laptop.release("--base-model", "/no/such/model"))
    assert code == 1
    assert "/no/such/model" in out and "Traceback" not in out


def test_what_was_promoted_is_served_asked_and_voted_on_until_ctrl_c(laptop: Laptop) -> None:
    server = laptop.start("serve", "--port", str(laptop.port))
    try:
        for _ in range(100):
            code, out = laptop.run("ask", "How do I stop generation at a word?", "--json")
            if code == 0:
                break
            time.sleep(0.2)
        assert code == 0, out
        answer = json.loads(out)
        assert all((laptop.source / source["path"]).exists() and source["lines"][0] > 0 for source in answer["sources"])
        code, out = laptop.run("feedback", answer["request_id"], "up")
        assert code == 0, out
        code, out = laptop.run("feedback", "no-such-request", "up")
        assert code == 1 and "no-such-request" in out
        code, out = laptop.run("status")
        assert code == 0 and answer["revision"] in out
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)
    assert laptop.wait_for_none(20) == []
