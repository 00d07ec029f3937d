"""The automation that users get: valid to GitHub, and naming only commands, flags and files that exist."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]


def steps(file: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(file.read_text())["jobs"].values()
    return [*jobs, *(step for job in jobs for step in job.get("steps", ()))]


def commands() -> str:
    run = [step["run"] for file in WORKFLOWS for step in steps(file) if "run" in step]
    return "\n".join([*run, *(hook["entry"] for hook in HOOKS)])


def gate_command(word: str) -> str:
    """The command of the load gate that has this word in it."""
    found = (step["run"] for step in steps(ROOT / ".github/workflows/load-gate.yml") if word in step.get("run", ""))
    return str(next(found))


def test_github_takes_every_workflow() -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    done = subprocess.run([*checker, *map(str, WORKFLOWS)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: str(file.stem))
def test_actions_are_pinned_and_what_a_caller_types_is_never_run(file: Path) -> None:
    for step in steps(file):
        used = step.get("uses", "")
        if used.startswith("./"):
            assert (ROOT / used).is_file()
        elif used:
            # A tag can be moved to other code; the version beside the commit is for people.
            assert re.search(r"@[0-9a-f]{40}$", used), f"{used}: name a commit, and its version in a comment"
            assert re.search(rf"uses: {re.escape(used)}  # v\d+\.\d+\.\d+$", file.read_text(), re.MULTILINE), used
        assert "${{" not in step.get("run", ""), "expressions reach a shell through its environment only"


def test_commands_name_targets_and_tools_that_exist() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", commands()))
    assert {"check", "compile", "e2e", "manifests"} <= named <= targets
    tools = set(re.findall(r"\.venv/bin/(\S+)", commands()))
    assert tools and all((Path(sys.executable).parent / tool).is_file() for tool in tools)


def test_the_load_gate_names_flags_and_the_image_targets_that_exist() -> None:
    import typer

    from load_tests.__main__ import app

    known = {flag for given in typer.main.get_command(app).params for flag in given.opts}
    gate = gate_command("--host")
    assert {"--host", "--report", "--slo"} <= set(re.findall(r"--[a-z]+", gate)) <= known
    image = yaml.safe_load((ROOT / ".github/workflows/image.yml").read_text())["jobs"]["image"]
    stages = set(re.findall(r"^FROM .* AS (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE))
    assert set(image["strategy"]["matrix"]["target"]) <= stages
    arguments = re.findall(r"^(\w+)=", image["steps"][-1]["with"]["build-args"], re.MULTILINE)
    assert all(f"ARG {name}" in (ROOT / "Dockerfile").read_text() for name in arguments)


def test_the_load_gate_installs_all_that_its_tool_imports() -> None:
    assert "--require-hashes --no-deps -r .ci/locks/load.txt" in gate_command("pip")
    installed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["load"]
    files = [*(ROOT / "load_tests").glob("*.py"), *(ROOT / "load_tests/slo").glob("*.py")]
    imported = {
        name
        for file in files
        for name in re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(), re.MULTILINE)
        if name not in sys.stdlib_module_names | {"load_tests", "serving"}
    }
    assert imported - {"gevent"} == {name.replace("pyyaml", "yaml") for name in installed}, "gevent is locust's own"
