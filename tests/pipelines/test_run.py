import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.run import run
from serving.contract.errors import SluiceError

TINY = '''
from kfp import dsl
from kfp.dsl import Dataset, Input, Output
from components.common.step import step

@step
def write(word: str, out: Output[Dataset]):
    """Write a word."""
    open(out.path, "w").write(word)

@step
def read(data: Input[Dataset], patience: float):
    """Refuse a word that is bad, after a while."""
    import time
    from serving.contract.errors import SluiceError
    print("reading", flush=True)
    time.sleep(patience)
    word = open(data.path).read()
    if word == "full":
        raise OSError(28, "No space left on device", data.path)
    if word == "bad":
        raise SluiceError("data.txt: the word is bad; give a good one")

@dsl.pipeline(name="tiny")
def tiny(word: str = "good", patience: float = 0.0):
    made = write(word=word)
    read(data=made.outputs["out"], patience=patience)
'''


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny_pipeline.py").write_text(TINY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    return tmp_path


def steps(word: str) -> list[tuple[str, bool]]:
    outcome = run("tiny_pipeline:tiny", {"word": word}, Console(file=io.StringIO()))
    return [(step.name, step.cached) for step in outcome.steps]


def test_a_second_run_with_nothing_changed_comes_from_the_cache(tiny: Path) -> None:
    assert steps("good") == [("write", False), ("read", False)]
    assert steps("good") == [("write", True), ("read", True)]


def test_a_failing_step_is_told_in_its_own_sentence_with_its_log(tiny: Path) -> None:
    with pytest.raises(SluiceError, match=r"read: data.txt: the word is bad; give a good one \(log: .*\.log\)"):
        steps("bad")


def test_a_full_disk_is_told_with_its_mend_and_what_was_finished_stays(tiny: Path) -> None:
    for _ in range(2):
        with pytest.raises(
            SluiceError, match="read: no space left on the disk; free some and run the same command again"
        ):
            steps("full")
    logs = sorted((tiny / "home" / "logs").glob("*.log"))
    assert "Task write cache hit" in logs[-1].read_text()


def test_killing_the_run_leaves_no_process_and_the_next_run_resumes(tiny: Path) -> None:
    script = (
        "from rich.console import Console; from pipelines.run import run;"
        "run('tiny_pipeline:tiny', {'patience': 60.0}, Console())"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    log = next_log_with(tiny / "home" / "logs", "reading")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while running_below(str(tiny)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running_below(str(tiny)) == []
    assert "SUCCESS" in log
    assert steps("good")[0] == ("write", True)


def next_log_with(logs: Path, word: str) -> str:
    for _ in range(300):
        for log in logs.glob("*.log"):
            if word in (text := log.read_text()):
                return text
        time.sleep(0.1)
    raise AssertionError("the step never started")


def running_below(path: str) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                if path in (process / "environ").read_text(errors="replace") and (process / "cmdline").read_bytes():
                    found.append(int(process.name))
            except OSError:
                continue
    return found
