"""The whole road on a slice of transformers: killed and resumed, cached, served, asked, voted on, stopped."""

import importlib.util
import json
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Laptop, steps_run

pytestmark = [pytest.mark.e2e, pytest.mark.smoke]
FILES = ("generation/*.py", "trainer*.py", "data/data_collator.py", "pipelines/text*.py", "utils/hub.py")
SETTINGS = Path(__file__).with_name("small.yaml")


class Codebase(Laptop):
    """A laptop with a slice of the installed transformers."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.source = root / "source"
        spec = importlib.util.find_spec("transformers")
        assert spec and spec.origin
        package = Path(spec.origin).parent
        for pattern in FILES:
            for file in package.glob(pattern):
                target = self.source / file.relative_to(package)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)

    def release(self, *more: str) -> list[str]:
        where = ["--source", str(self.source), "--settings", str(SETTINGS), "--port", str(self.port)]
        return ["run", "codebase", *where, *more]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Codebase]:
    yield Codebase(tmp_path_factory.mktemp("laptop"))


def test_a_run_killed_in_training_is_taken_up_by_the_same_command(laptop: Codebase) -> None:
    first = laptop.start(*laptop.release())
    checkpoints = laptop.home / "checkpoints"
    until = time.monotonic() + 600
    while not list(checkpoints.glob("*/*")) and time.monotonic() < until and first.poll() is None:
        time.sleep(0.1)
    assert list(checkpoints.glob("*/*")), laptop.log("codebase")[-2000:]
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert laptop.wait_for_none(15) == []
    code, out = laptop.run(*laptop.release())
    assert code == 0, out + laptop.log("codebase")[-3000:]
    again = steps_run(out)
    assert "Train adapter" in again
    assert (
        not {"Ingest source", "Make questions", "Validate data", "Fetch base model", "Search hyperparameters"} & again
    )
    assert re.search(r"resum", laptop.log("codebase"), re.I), "training began from its checkpoint"
    assert "canary" in out, "the base model went first, the challenger beside it"
    report = (laptop.home / "reports" / "codebase.html").read_text()
    assert "Promoted" in report and not re.search(r"<(script|link|img)[^>]+(src|href)=.?http", report)


def test_a_missing_base_model_is_one_clear_error_and_leaves_the_champion(laptop: Codebase) -> None:
    code, out = laptop.run(*laptop.release("--base-model", "/no/such/model"))
    assert code == 1
    assert "/no/such/model" in out and "Traceback" not in out


def test_what_was_promoted_is_served_asked_and_voted_on_until_ctrl_c(laptop: Codebase) -> None:
    server = laptop.start("serve", "--port", str(laptop.port))
    try:
        answer = json.loads(laptop.until_answered("ask", "How do I stop generation at a word?", "--json"))
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
