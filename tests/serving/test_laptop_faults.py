"""What goes wrong on a laptop: revisions that crash or never get ready, a control plane that stops or is killed."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from laptop_driver import GROUP, ISVC, ask, condition, load, run_laptop, service, wait_for

from serving.contract.errors import SluiceError
from serving.laptop import process


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    yield from run_laptop(tmp_path_factory.mktemp("laptop"), 18600)


@pytest.fixture(autouse=True)
def _clean(laptop):
    yield
    laptop.delete_all()


def test_a_crashed_revision_answers_503_by_name_and_comes_back_while_stable_serves(laptop):
    url = laptop.create("crash", laptop.model("old"))
    laptop.patch("crash", canaryTrafficPercent=20, model={"storageUri": laptop.model("new")})
    wait_for(lambda: laptop.shares("crash") == {"00002": 20, "00001": 80})
    with pytest.raises(aiohttp.ClientError):
        ask(laptop.addresses("crash")["latest"], data=b"die")
    status = laptop.wait("crash", "Ready", "False")
    assert status["modelStatus"]["lastFailureInfo"]["exitCode"] == 7
    assert "exited with code 7" in status["modelStatus"]["lastFailureInfo"]["message"]
    seen = asyncio.run(load(url, count=200))
    assert seen[200, "1"] >= 150 and set(seen) <= {(200, "1"), (503, "2"), (200, "2")}
    laptop.wait("crash", "Ready", "True")
    assert set(asyncio.run(load(url, count=200))) == {(200, "1"), (200, "2")}


def test_a_crash_while_answering_is_a_503_that_names_the_revision(laptop):
    url = laptop.create("dies", laptop.model("x"))
    status, body, headers = ask(url, data=b"die")
    assert (status, headers["x-sluice-revision"]) == (503, "dies-predictor-00001")
    assert "broke the connection" in body["error"]


@pytest.mark.parametrize(
    ("how", "why"), [("missing", "nowhere does not exist"), ("unready", "not ready within 3 s"), ("exit", "answer.txt")]
)
def test_a_revision_that_never_gets_ready_gets_no_traffic_and_says_why(laptop, how, why):
    url, uri = laptop.create(how, laptop.model("old")), laptop.model("new")
    place = Path(uri.removeprefix("file://"))
    if how == "unready":
        (place / "not-ready").touch()
    if how == "exit":
        (place / "answer.txt").unlink()
    uri += "/nowhere" if how == "missing" else ""
    laptop.patch(how, canaryTrafficPercent=10, model={"storageUri": uri})
    if how == "unready":
        laptop.annotate(how, progress_deadline="3s")
    status = laptop.wait(how, "Ready", "False")
    assert why in condition(status, "Ready")["message"]
    assert condition(status, "Ready")["reason"] == "RevisionFailed"
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
    assert set(asyncio.run(load(url, count=50))) == {(200, "1")}


def test_a_runtime_that_does_not_exist_is_an_invalid_spec_until_it_does(laptop):
    wanted = service("runtime", laptop.model("x"))
    wanted["spec"]["predictor"]["model"]["runtime"] = "nobody"
    laptop.api.create_namespaced_custom_object(GROUP, *ISVC, wanted)
    status = laptop.wait("runtime", "Ready", "False")
    assert condition(status, "Ready")["reason"] == "RuntimeNotRecognized"
    assert status["modelStatus"]["transitionStatus"] == "InvalidSpec"
    laptop.patch("runtime", model={"runtime": "tiny"})
    laptop.wait("runtime", "Ready", "True")


def test_state_survives_a_restart_and_a_kill_leaves_no_orphans(laptop):
    url = laptop.create("again", laptop.model("old"))
    laptop.patch("again", canaryTrafficPercent=10, model={"storageUri": laptop.model("new")})
    wait_for(lambda: laptop.shares("again") == {"00002": 10, "00001": 90})
    assert laptop.stop() == 0
    assert process.running(laptop.home) is None
    laptop.start()
    laptop.wait("again", "Ready", "True")
    assert laptop.status("again")["url"] == url
    assert laptop.shares("again") == {"00002": 10, "00001": 90}
    assert set(asyncio.run(load(url, count=100))) == {(200, "1"), (200, "2")}
    predictors = children(laptop.process.pid)
    assert len(predictors) == 2
    laptop.stop(signal.SIGKILL)
    if sys.platform == "linux":
        wait_for(lambda: not any(alive(pid) for pid in predictors))
    laptop.start()


def test_a_home_has_one_control_plane(laptop):
    with pytest.raises(SluiceError, match=rf"process {laptop.process.pid}, API {laptop.info.api}"):
        process.hold(laptop.home)
    rival = process.start(laptop.home, 18700)
    assert rival.wait(10) == 2
    assert "already has a control plane" in (laptop.home / "logs" / "control.log").read_text()
    assert process.running(laptop.home) == laptop.info


def children(pid: int) -> list[int]:
    out = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False).stdout
    return [int(word) for word in out.split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
