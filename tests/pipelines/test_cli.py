import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from threaded import serving
from toy_listener import ToyListener, wav

from pipelines.client import post
from pipelines.systems import systems
from pipelines.systems.lectures.verbs import _upload
from serving.contract.access import read_access
from serving.contract.errors import SluiceError
from serving.core.limits import Limits


def sluice(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SLUICE_HOME": str(home), "KUBECONFIG": str(home / "serving" / "kubeconfig")}
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = "{'kfp', 'torch', 'mlflow', 'pandas', 'kubernetes'}"
    probe = f"import sys, pipelines.cli; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "rollback" in sluice("--help", home=tmp_path).stdout


MISTAKES = [
    (("run", "codebas"), "no system 'codebas'; there is codebase, lectures"),
    (("run", "codebase", "--source", "/no/such"), "--source /no/such: no such directory"),
    (("run", "lectures", "--source", "/no/such.wav"), "--source /no/such.wav: no such directory"),
    (("transcribe", "/no/such.wav"), "`sluice serve`"),
    (("transcribe", "/no/such.wav", "--format", "doc"), "--format doc: choose one of text, srt"),
    (("ask", "why?", "--system", "lectures", "--only", "bread-1"), "start what was promoted with `sluice serve`"),
    (("ask", "why?", "--system", "codebas"), "no system 'codebas'"),
    (("status",), "`sluice serve`"),
    (("rollback",), "`sluice serve`"),
    (("compile", "--settings", "mine.yaml"), "--settings mine.yaml: name the system that it is for, codebase or"),
    (("submit", "codebase", "--settings", "/no.yaml"), "settings /no.yaml: No such file"),
    (("schedule", "codebase", "--cron", "0 3 * * 1", "--settings", "/no.yaml"), "settings /no.yaml: No such file"),
]
# One process for all, since what a command imports takes seconds; each has the environment as it was.
ONE_BY_ONE = """
import contextlib, io, json, os, sys
from pipelines.cli import main
kept = dict(os.environ)
for sys.argv[1:] in json.loads(sys.argv[1]):
    with contextlib.redirect_stderr(io.StringIO()) as told:
        try:
            main()
        except SystemExit as end:
            print(json.dumps([end.code, told.getvalue()]))
    os.environ.clear()
    os.environ.update(kept)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, str]]:
    """Exit code and standard error of every mistake."""
    home = tmp_path_factory.mktemp("mistakes")
    environment = {**os.environ, "SLUICE_HOME": str(home), "KUBECONFIG": str(home / "serving" / "kubeconfig")}
    command = [sys.executable, "-c", ONE_BY_ONE, json.dumps([arguments for arguments, _ in MISTAKES])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("at", range(len(MISTAKES)), ids=[" ".join(arguments) for arguments, _ in MISTAKES])
def test_a_mistake_gets_one_sentence_and_no_traceback(at: int, told: list[tuple[int, str]]) -> None:
    assert len(told) == len(MISTAKES)
    code, words = told[at]
    assert code == 1
    assert MISTAKES[at][1] in words.replace("\n", " ")
    assert "Traceback" not in words


def test_unknown_settings_are_refused_by_name(tmp_path: Path) -> None:
    settings = tmp_path / "mine.yaml"
    settings.write_text("trane: {epochs: 3}\n")
    done = subprocess.run(
        [sys.executable, "-c", "from pipelines.settings import load_settings; load_settings('codebase')"],
        capture_output=True,
        text=True,
        env={**os.environ, "SLUICE_SETTINGS": str(settings)},
    )
    assert "unknown: trane" in done.stderr


def test_how_a_model_is_served_stands_in_the_systems_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from components.rollout.settings import RolloutSettings
    from pipelines.settings import load_settings

    settings = tmp_path / "mine.yaml"
    monkeypatch.setenv("SLUICE_SETTINGS", str(settings))
    settings.write_text(
        "serving: {max_batch: 4, deadline: 2.5}\nrollout: {window_s: 9}\ntranscriber: {serving: {pace: 2}}"
    )
    told = load_settings("lectures")
    chosen = RolloutSettings(**told["rollout"])
    assert (chosen.window_s, chosen.serving.flags()) == (9, ["--max-batch=4", "--deadline=2.5"])
    assert RolloutSettings(**told["transcriber"]["rollout"]).serving.flags() == ["--pace=2.0"]
    for wrong, place in (("{max_batches: 4}", "serving.max_batches"), ("{deadline: 0}", "serving.deadline")):
        settings.write_text(f"transcriber: {{serving: {wrong}}}")
        with pytest.raises(SluiceError, match=rf"mine.yaml: transcriber: {place}: "):
            load_settings("lectures")


@pytest.mark.parametrize("system", ["codebase", pytest.param("lectures", marks=[pytest.mark.e2e, pytest.mark.smoke])])
def test_the_compiled_pipeline_loads_again_and_reads_well_in_the_ui(system: str, tmp_path: Path) -> None:
    own = yaml.safe_load((Path(__file__).parents[2] / "pipelines" / "systems" / system / "settings.yaml").read_text())
    release = own.setdefault("transcriber", {}) if system == "lectures" else own
    release["rollout"] = {"window_s": 17}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own))
    done = sluice(
        "compile", system, "--output", str(tmp_path), "--settings", str(tmp_path / "mine.yaml"), home=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "window_s: 17" in (tmp_path / f"{system}.yaml").read_text()
    spec = next(yaml.safe_load_all((tmp_path / f"{system}.yaml").read_text()))
    inputs = spec["root"]["inputDefinitions"]["parameters"]
    assert len(inputs) <= 8
    assert all(definition.get("description") for definition in inputs.values())
    tasks = spec["root"]["dag"]["tasks"]
    assert any("ompare with champion" in task["taskInfo"]["name"] for task in tasks.values())
    dags = [spec["root"]["dag"], *(part["dag"] for part in spec["components"].values() if "dag" in part)]
    rolled = [task for dag in dags for task in dag["tasks"].values() if task["taskInfo"]["name"].endswith("oll out")]
    released = {task["inputs"]["parameters"]["system"]["runtimeValue"]["constant"] for task in rolled}
    assert released == {endpoint.name for endpoint in systems()[system].endpoints}
    assert inputs["base_model"]["defaultValue"] == systems()[system].base_model
    script = "import sys; from kfp.components import load_component_from_file as load; print(load(sys.argv[1]).name)"
    command = [sys.executable, "-c", script, str(tmp_path / f"{system}.yaml")]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == system


def test_questions_and_recordings_are_sent_with_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hum.wav").write_bytes(wav(1))
    keys = read_access({"SLUICE_API_KEYS": "anna:anna-0123456789abcdef"})
    with serving(ToyListener(), "ears", Limits(), access=keys) as ears:
        predict = f"{ears.url}/v1/models/ears:predict"
        with pytest.raises(SluiceError, match="answered 401: this service wants an API key"):
            post(predict, {"instances": []})
        with pytest.raises(SluiceError, match="answered 401"):
            _upload(predict, tmp_path / "hum.wav", {})
        monkeypatch.setenv("SLUICE_API_KEY", "anna-0123456789abcdef")
        with pytest.raises(SluiceError, match="answered 400"):
            post(predict, {"instances": []})
        assert _upload(predict, tmp_path / "hum.wav", {}).json()["predictions"][0]["text"] == "level 5"
