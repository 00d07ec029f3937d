"""A system and a task from a folder elsewhere, tests/toy: compiled, run, gated, rolled out and asked."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from command_line import Laptop, steps_run

from pipelines.digest import ROOT, Code

pytestmark = pytest.mark.e2e
TOY = ROOT / "tests" / "toy"
WITNESS = """
import atexit, json, os, pathlib, sys
def tell():
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    told = {"key": os.environ["SLUICE_CODE_DIGEST"], "files": [file for file in files if file]}
    pathlib.Path(os.environ["WITNESS"], f"{os.getpid()}.json").write_text(json.dumps(told))
if "SLUICE_CODE_DIGEST" in os.environ:
    atexit.register(tell)
"""


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    root = tmp_path_factory.mktemp("toy")
    made = Laptop(root)
    (root / "witness" / "seen").mkdir(parents=True)
    (root / "witness" / "sitecustomize.py").write_text(WITNESS)
    path = [str(place) for place in (root / "witness", root / "written", TOY, ROOT)]
    made.environment |= {"PYTHONPATH": os.pathsep.join(path), "WITNESS": str(root / "witness" / "seen")}
    command = [sys.executable, "-m", "manifests.write", "--to", str(root / "written")]
    subprocess.run(command, check=True, env=made.environment, cwd=ROOT)
    yield made


def test_a_system_in_a_folder_of_its_own_goes_the_whole_road(laptop: Laptop) -> None:
    code, out = laptop.run("run", "toys", "--port", str(laptop.port))
    assert code == 0, out + laptop.log("toys")[-3000:]
    assert {"Make points", "Train", "Compare with champion", "Roll out"} <= steps_run(out)
    assert not {"Train adapter", "Merge adapter", "Create study"} & steps_run(out)
    assert "Promoted" in (laptop.home / "reports" / "toys.html").read_text()
    code, out = laptop.run("compile", "--output", str(laptop.home / "compiled"))
    assert code == 0 and (laptop.home / "compiled" / "toys.yaml").is_file(), out


def test_every_step_loaded_only_what_its_cache_key_covers(laptop: Laptop) -> None:
    code, rooms = Code([ROOT, TOY]), {"points", *(path.parent.name for path in ROOT.glob("components/*/component.py"))}
    reached = {}
    for room in rooms - {"rollout"}:  # never cached, and it starts servers and Locust
        step = f"components.{room}.component"
        reached[code.digest(step, "toy")] = {str(file) for file in code.reached(step, "toy")}
    seen = [json.loads(path.read_text()) for path in Path(laptop.environment["WITNESS"]).glob("*.json")]
    assert len({one["key"] for one in seen}) >= 12
    for one in (one for one in seen if one["key"] in reached):
        ours = {file for file in one["files"] if file.startswith(str(ROOT)) and ".venv" not in file}
        assert ours <= reached[one["key"]]


def test_its_endpoint_answers_and_a_second_run_redoes_nothing(laptop: Laptop) -> None:
    server = laptop.start("serve", "--port", str(laptop.port))
    try:
        laptop.until_answered("status", "toys")
        url = f"http://127.0.0.1:{laptop.port}/v1/models/toys:predict"
        points = [{"x": 2.0, "y": -2.0}, {"x": -2.0, "y": 2.0}]
        answer = httpx.post(url, json={"instances": points}).json()
        assert [one["side"] for one in answer["predictions"]] == [True, False]
        assert httpx.post(url, json={"instances": [{"x": "far"}]}).status_code == 400
    finally:
        server.send_signal(2)
        server.communicate(timeout=60)
