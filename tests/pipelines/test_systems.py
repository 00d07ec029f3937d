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
from pipelines.systems import Endpoint, Source, System

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
        Endpoint("circus-juggler", "toy", "Balls.", LoadTest()),
        Endpoint("circus-clown", "toy", "Noses.", LoadTest()),
    ),
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
