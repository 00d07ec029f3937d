import os
import shutil
from pathlib import Path

import pytest

from pipelines.digest import ROOMS, ROOT, Code, code_digest, source_digest
from serving.contract.errors import SluiceError


def test_the_digest_of_a_source_follows_content_names_and_extra_words(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = source_digest(tmp_path, "core")
    assert source_digest(tmp_path, "core") == first
    assert source_digest(tmp_path, "all") != first
    (tmp_path / "notes.txt").write_text("not read by ingest\n")
    assert source_digest(tmp_path, "core") == first
    (tmp_path / "a.py").write_text("x = 2\n")
    assert source_digest(tmp_path, "core") != first


TASKS = ("retrieval", "transcription", "highlights")


def test_a_step_reaches_imports_inside_functions_but_no_other_step_or_task() -> None:
    reached = {
        str(file.relative_to(ROOT)) for file in Code([ROOT]).reached("components.evaluate.component", "retrieval")
    }
    assert {"components/evaluate/component.py", "components/tasks/retrieval/evaluating/report.py"} <= reached
    assert "serving/retrieval/retriever.py" in reached  # found by the bundle's task when the step runs
    beyond = ("components/train", "components/gate", "components/tasks/transcription", "components/tasks/highlights")
    assert not [name for name in reached if name.startswith((*beyond, "serving/transcription", "serving/highlights"))]


def test_a_step_that_finds_its_work_by_the_task_has_no_key_without_one() -> None:
    with pytest.raises(SluiceError, match="name the task"):
        code_digest("components.evaluate.component", "")
    assert code_digest("components.ingest.component", "") == code_digest("components.ingest.component", "retrieval")


def test_every_file_that_a_step_reaches_changes_its_key_and_no_other_tasks(tmp_path: Path) -> None:
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    code, ids = (
        Code([tmp_path]),
        [f"components.{p.parent.name}.component" for p in ROOT.glob("components/*/component.py")],
    )
    steps: dict[Path, tuple[str, set[str]]] = {}
    for step in sorted(ids):
        found = {task: code.reached(step, task) for task in TASKS}
        steps |= {f: (step, {t for t in TASKS if f in found[t]}) for f in set().union(*found.values())}
    assert len(steps) > 250
    before = {(step, task): code.digest(step, task) for step in ids for task in TASKS}
    for file, (step, tasks) in steps.items():
        content = file.read_bytes()
        file.write_bytes(content + b"\n")
        assert {t for t in TASKS if code.digest(step, t) != before[step, t]} == tasks, file
        file.write_bytes(content)


def test_a_source_that_strangers_sent_has_a_digest_of_what_a_step_would_read(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "outside.md").write_text("one")
    (source / "out.md").symlink_to(tmp_path / "outside.md")
    (source / "itself.md").symlink_to("itself.md")
    os.mkfifo(source / "pipe.md")
    (source / "GUIDE.MD").write_text("one")
    with open(os.fsencode(source) + b"/caf\xe9.md", "wb") as file:
        file.write(b"# Coffee")
    first = source_digest(source)
    (tmp_path / "outside.md").write_text("two")
    assert source_digest(source) == first
    (source / "GUIDE.MD").write_text("two")
    assert source_digest(source) != first
    single = source_digest(source / "GUIDE.MD")
    (source / "GUIDE.MD").write_text("three")
    assert source_digest(source / "GUIDE.MD") != single
