"""Both images, built for real: what is in them, and that one runs a step and the other answers."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
import yaml
from images import ROOT, Container, Images, missing

pytestmark = pytest.mark.e2e
FORBIDDEN_TOOLS = ("pip", "pip3", "gcc", "cc", "g++", "make", "ld")
TRAINING = ("torch", "transformers", "peft", "mlflow", "kfp", "feast", "great_expectations", "optuna", "scipy")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    if why := missing():
        pytest.skip(why)
    made = Images(tmp_path_factory.mktemp("images"))
    try:
        made.import_base()
        made.fetch_wheels()
        for target in ("serving", "trainer"):
            started = time.monotonic()
            made.build(target)
            print(f"{target}: {made.megabytes(target)} MB, built in {time.monotonic() - started:.0f} s")
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def boxes(images: Images, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Container]:
    return {name: images.container(name, tmp_path_factory.mktemp(name)) for name in ("serving", "trainer")}


@pytest.fixture(scope="module", params=["serving", "trainer"])
def box(request: pytest.FixtureRequest, boxes: dict[str, Container]) -> Container:
    return boxes[request.param]


def test_an_image_says_what_it_is_and_who_runs_it(box: Container) -> None:
    labels = box.config["Labels"]
    for name in ("title", "description", "version", "revision", "created", "base.name"):
        assert labels[f"org.opencontainers.image.{name}"]
    assert labels["org.opencontainers.image.revision"] == "0123abc"
    assert box.config["User"] == "10001:10001" and list(box.config["Volumes"]) == ["/var/lib/sluice"]


def test_an_image_holds_no_build_tools_and_no_caches(box: Container) -> None:
    found = box.run("python", "-c", f"import shutil; print([t for t in {FORBIDDEN_TOOLS} if shutil.which(t)])")
    assert found == "[]"
    assert "No module named pip" in box.run("sh", "-c", "python -m pip --version 2>&1 || true")
    left = [path for place in ("tmp", "root", "var/lib/sluice") for path in (box.root / place).rglob("*")]
    assert not [path for path in left if path.is_file() and path.name not in (".bashrc", ".profile")]


def test_only_tmp_and_the_volume_can_be_written(box: Container) -> None:
    script = (
        "id -u; for d in /tmp $SLUICE_HOME / /opt/sluice /opt/venv; do touch $d/new 2>/dev/null && echo $d; done; true"
    )
    assert box.run("sh", "-c", script).split() == ["10001", "/tmp", "/var/lib/sluice"]
    # The image's own permissions say so too, where a cluster leaves the root writable.
    owned = [path for path in (box.root / "opt").rglob("*") if path.lstat().st_uid or path.lstat().st_mode & 0o002]
    assert [path for path in owned if not path.is_symlink()] == []


def test_serving_is_small_and_without_the_training_stack(images: Images, boxes: dict[str, Container]) -> None:
    asked = (
        f"import importlib.util as u; print([n for n in {TRAINING + ('components', 'pipelines')} if u.find_spec(n)])"
    )
    assert boxes["serving"].run("python", "-c", asked) == "[]"
    assert images.megabytes("serving") < images.megabytes("trainer") / 2


def test_the_locked_versions_are_the_installed_ones(boxes: dict[str, Container]) -> None:
    lock = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    wanted = {name.lower().replace("_", "-").replace(".", "-"): version for name, version in lock.items()}
    for box in boxes.values():
        told = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
        for name, version in json.loads(box.run("python", "-c", told)).items():
            name = name.lower().replace("_", "-").replace(".", "-")
            assert wanted.get(name, version) == version.split("+")[0], name


def test_an_image_lists_its_own_packages(box: Container) -> None:
    told = json.loads(box.run("cat", "/opt/sluice/sbom.json"))
    assert (told["bomFormat"], told["specVersion"]) == ("CycloneDX", "1.6")
    listed = {part["name"].lower().replace("_", "-").replace(".", "-") for part in told["components"]}
    script = "import importlib.metadata as m; print(*{d.name for d in m.distributions()})"
    installed = {name.lower().replace("_", "-").replace(".", "-") for name in box.run("python", "-c", script).split()}
    assert installed <= listed and "kserve" in listed


def test_serving_answers_and_its_health_check_tells_the_truth(boxes: dict[str, Container], tiny_bundle: Path) -> None:
    box, port = boxes["serving"], free_port()
    [runtime] = yaml.safe_load((ROOT / "manifests/base/runtime/servingruntime.yaml").read_text())["spec"]["containers"]
    assert runtime["command"] == box.config["Entrypoint"]
    flags = ("--model-name=codebase", "--model-dir=/mnt", f"--http-port={port}", "--grpc-port=0", "--host=127.0.0.1")
    probe, check, *healthy = box.config["Healthcheck"]["Test"]
    assert (probe, check) == ("CMD", "python")
    command = box.command(*runtime["command"], *flags, binds={tiny_bundle: "/mnt"})
    health = box.command(check, *healthy, f"--http-port={port}")
    assert subprocess.run(health, capture_output=True, check=False).returncode == 1
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        try:
            wait_until_ready(f"http://127.0.0.1:{port}/v2/models/codebase/ready", server)
            subprocess.run(health, check=True)
            [answer] = ask(port, "how do I set the level of a logger?")["predictions"]
            assert answer["sources"][0]["path"].startswith("logging/")
        finally:
            server.terminate()
            print(server.communicate(timeout=40)[0][-2000:])


def test_a_compiled_step_runs_in_the_trainer_image(boxes: dict[str, Container], tmp_path: Path) -> None:
    box = boxes["trainer"]
    box.run("sluice", "compile", "--help")
    executor = compiled("ingest", tmp_path)
    inputs = {"source": "/opt/sluice/serving", "source_digest": "0", "part": "all", "settings": {}}
    place = "/var/lib/sluice/run"
    passages = {"name": "passages", "uri": f"{place}/passages", "type": {"schemaTitle": "system.Dataset"}}
    request = {
        "inputs": {"parameterValues": inputs},
        "outputs": {
            "parameters": {name: {"outputFile": f"{place}/{name}"} for name in ("count", "digest")},
            "artifacts": {"passages": {"artifacts": [passages]}},
            "outputFile": f"{place}/output_metadata.json",
        },
    }  # fmt: skip
    words = [json.dumps(request) if word == "{{$}}" else word for word in executor["command"] + executor["args"]]
    print(box.run(*words)[-1000:])
    told = json.loads((box.volume / "run" / "output_metadata.json").read_text())
    import pandas as pd

    table = pd.read_parquet(box.volume / "run" / "passages")
    assert told["parameterValues"]["count"] == len(table) > 50
    assert "ready.py" in set(table["path"].str.split("/").str[-1])


def compiled(step: str, folder: Path) -> dict[str, Any]:
    """The container of one step of codebase as `sluice compile` writes it."""
    command = (sys.executable, "-m", "pipelines.cli", "compile", "--output", folder)
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    document = next(yaml.safe_load_all((folder / "codebase.yaml").read_text()))
    container: dict[str, Any] = document["deploymentSpec"]["executors"][f"exec-{step}"]["container"]
    return container


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(url: str, server: "subprocess.Popen[str]") -> None:
    for _ in range(300):
        assert server.poll() is None, server.stdout and server.stdout.read()
        try:
            urlopen(url, timeout=5).close()
            return
        except OSError:  # refused, or no answer yet
            time.sleep(0.2)
    raise AssertionError(f"{url} was never ready")


def ask(port: int, question: str) -> dict[str, Any]:
    body = json.dumps({"instances": [{"question": question}]}).encode()
    request = Request(f"http://127.0.0.1:{port}/v1/models/codebase:predict", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=30) as answer:
        told: dict[str, Any] = json.load(answer)
    return told
