"""A system is its declaration, wherever on PYTHONPATH it lies."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2]
DECLARATION = """
import typer
from load_tests.slo import LoadTest
from pipelines.systems import Endpoint, Graph, Sizes, Source, System

commands = typer.Typer()

@commands.command()
def juggle() -> None:
    print("three balls")

@commands.command()
def drop() -> None:
    print("none")

SYSTEM = System(
    source=Source("a box of balls", lambda *given: dict(zip("abc", given)), str),
    base_model="nothing",
    endpoints=(
        Endpoint("circus-juggler", "highlights", "Balls.", LoadTest(slo={"p95_ms": 300}),
                 sizes=Sizes("JUGGLER", memory="3Gi", memory_limit="4Gi")),
        Endpoint("circus-clown", "transcription", "Noses.", LoadTest(), args=("--deadline=9",), generator=True),
    ),
    graph=Graph("circus", "Balls in.", {"throw": "circus-juggler", "catch": "circus-clown"}),
    commands=commands,
)
"""


def python(elsewhere: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{elsewhere}", **variables}
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=60)


@pytest.fixture
def circus(tmp_path: Path) -> Path:
    place = tmp_path / "pipelines" / "systems" / "circus"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(DECLARATION)
    (place / "settings.yaml").write_text("validate: {a: 1}\nclown: {gate: {b: 2}}\n")
    return tmp_path


CHECK = """
import sys
from pathlib import Path
from components.rollout.graph import graphs_of
from components.rollout.manifests import read_manifests
from load_tests.slo import read_slo
from manifests.check.build import build
from manifests.check.combinations import check
from manifests.check.values import read_values

overlay = Path(sys.argv[1]) / "manifests" / "overlays" / "staging"
endpoints = overlay / "serving"
for mode in ("Knative", "Standard"):
    if mode == "Standard":
        file = endpoints / "kustomization.yaml"
        file.write_text(file.read_text().replace("/storage-s3\\n", "/storage-oci\\n  - ../../../components/standard\\n"
            "  - ../../../components/keda\\n  - ../../../components/spread\\n"))
        values = overlay / "values" / "values.env"
        values.write_text(values.read_text().replace("MODE=Knative", "MODE=Standard"))
    told = read_values(overlay / "values" / "values.env")
    check(build(overlay), build(endpoints), told, mode)
built = {(one["kind"], one["metadata"]["name"]): one for one in build(endpoints)}
juggler = built["InferenceService", "circus-juggler"]["spec"]["predictor"]
print(juggler["model"]["resources"]["requests"]["memory"])
print(juggler["autoScaling"]["metrics"][0]["external"]["metric"]["query"])
print(*(step["serviceUrl"] for step in built["InferenceGraph", "circus"]["spec"]["nodes"]["root"]["steps"]))
print(read_manifests("circus-clown").service["spec"]["predictor"]["model"]["args"])
print(read_slo("circus-juggler").slo.p95_ms)
print(graphs_of("circus-clown")[0]["metadata"]["name"])
"""


def test_a_system_elsewhere_is_found_with_its_source_verbs_and_settings(circus: Path) -> None:
    said = python(circus, "-m", "pipelines.cli", "run", "--help").stdout
    assert "circus, codebase, lectures" in " ".join(said.split()) and "circus: a box of balls." in said
    assert "circus-clown" in python(circus, "-m", "pipelines.cli", "status", "--help").stdout
    assert python(circus, "-m", "pipelines.cli", "juggle").stdout == "three balls\n"
    read = (
        "from pipelines.settings import load_settings as f; s = f('circus'); print(s['validate'], s['clown']['gate'])"
    )
    done = python(circus, "-c", read, SLUICE_SETTINGS="")
    assert done.stdout == "{'a': 1} {'b': 2}\n", done.stderr


def test_a_folder_that_declares_nothing_and_a_name_used_twice_are_refused(circus: Path) -> None:
    place = circus / "pipelines" / "systems" / "zirkus"
    place.mkdir()
    (place / "__init__.py").write_text(DECLARATION)
    list_them = "from pipelines.systems import systems; systems()"
    assert "circus has an endpoint circus-juggler already" in python(circus, "-c", list_them).stderr
    (place / "__init__.py").write_text("")
    assert "expected SYSTEM = System(" in python(circus, "-c", list_them).stderr


def test_a_system_elsewhere_gets_manifests_that_hold_and_the_rollout_finds_them(circus: Path) -> None:
    written = circus / "written"
    done = python(circus, "-m", "manifests.write", "--to", str(written))
    assert done.returncode == 0, done.stderr
    again = python(circus, "-m", "manifests.write", "--to", str(written))
    assert again.returncode == 1 and "is there already; name a new folder" in again.stderr
    environment = f"{HERE}{os.pathsep}{circus}{os.pathsep}{written}"
    done = python(circus, "-c", CHECK, str(written), PYTHONPATH=environment)
    assert done.stdout.splitlines() == [
        "3Gi",
        'sum(sluice_queue_depth{namespace="sluice-staging",inferenceservice="circus-juggler"})',
        "http://circus-juggler-sluice-staging.staging.example.com/v1/models/circus-juggler:predict "
        "http://circus-clown-sluice-staging.staging.example.com/v1/models/circus-clown:predict",
        "['--deadline=9']",
        "300.0",
        "circus",
    ], done.stderr
    boards = written / "manifests" / "monitoring" / "dashboards" / "serving.json"
    assert boards.read_text().count('route=~\\"v1|v2|grpc|embeddings|transcriptions\\"') >= 4
    rules = (written / "manifests" / "monitoring" / "rules" / "slo.yaml").read_text()
    assert 'labels: {inferenceservice: circus-juggler, le: "0.3"}' in rules
