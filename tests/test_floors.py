"""The floors of the house: what each room may import. Imports for the type checker alone bind nothing and are free."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.contract.task import known_tasks

ROOT = Path(__file__).parents[1]
BELOW = {
    "pipelines": {"components", "load_tests", "feature_repo", "serving", "pipelines"},
    "components": {"load_tests", "feature_repo", "serving", "components"},
    "load_tests": {"serving", "load_tests"},
    "feature_repo": {"serving", "feature_repo"},
    "serving": {"serving"},
}
"""Rooms, and those that each may import."""
STEPS = sorted(path.parent.name for path in (ROOT / "components").glob("*/component.py"))
STANDS_ON = {"tune": "train", "utterances": "recordings"}
"""A trial is a short training run; what people corrected is filled up with our sample recordings, read as any are."""
TASKS = [f"serving.{name}" for name in known_tasks() if (ROOT / "serving" / name).is_dir()]
SERVER = [f"serving.{room}" for room in ("core", "feedback", "media", "page")]
STARTS_THE_STAND_IN = {"pipelines/laptop.py", "components/rollout/drill/__main__.py", "load_tests/bench/router.py"}


def imports(file: Path) -> Iterator[str]:
    """Modules, with the names taken from them, that a file imports when it runs."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            yield child
            yield from walk(child)

    for node in walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def found(room: str, *forbidden: str) -> set[str]:
    """Imports from ``forbidden`` packages in a room, as "file: module"."""
    files = sorted((ROOT / room).rglob("*.py"))
    assert files, room
    return {f"{file.relative_to(ROOT)}: {m}" for file in files for m in imports(file) if within(m, *forbidden)}


@pytest.mark.parametrize("room", BELOW)
def test_imports_run_down_only(room: str) -> None:
    assert found(room, *(BELOW.keys() - BELOW[room]), "tests", "manifests") == set()


def test_the_core_knows_no_task_and_the_contract_nothing_of_the_server() -> None:
    assert {"serving.retrieval", "serving.transcription", "serving.highlights"} <= set(TASKS)
    for room in ("core", "feedback", "media", "page"):
        assert found(f"serving/{room}", *TASKS) == set(), room
    assert found("serving/contract", *TASKS, *SERVER) == set()


def test_the_stand_in_knows_the_contract_only_and_nothing_but_its_starters_knows_the_stand_in() -> None:
    assert found("serving/laptop", *TASKS, *SERVER) == set()
    users = {entry.partition(":")[0] for room in BELOW for entry in found(room, "serving.laptop")}
    outside = {user for user in users if not user.startswith("serving/laptop/")}
    assert outside == STARTS_THE_STAND_IN


def test_no_task_knows_another() -> None:
    for task in TASKS:
        others = [other for other in TASKS if other != task]
        assert found(task.replace(".", "/"), *others) == set(), task


@pytest.mark.parametrize("step", ["common", *STEPS])
def test_no_step_knows_another(step: str) -> None:
    others = [f"components.{other}" for other in STEPS if other not in (step, STANDS_ON.get(step))]
    assert found(f"components/{step}", *others) == set()
