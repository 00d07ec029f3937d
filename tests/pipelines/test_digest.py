import os
from pathlib import Path

from pipelines.digest import _file_of, _imports, code_digest, source_digest


def test_the_digest_of_a_source_follows_content_names_and_extra_words(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    first = source_digest(tmp_path, "core")
    assert source_digest(tmp_path, "core") == first
    assert source_digest(tmp_path, "all") != first
    (tmp_path / "notes.txt").write_text("not read by ingest\n")
    assert source_digest(tmp_path, "core") == first
    (tmp_path / "a.py").write_text("x = 2\n")
    assert source_digest(tmp_path, "core") != first


def test_the_digest_of_a_step_reaches_imports_inside_functions_but_not_other_steps() -> None:
    reached = _imports(_file_of("components.evaluate.component"), "")  # type: ignore[arg-type]
    assert any(name.startswith("components.evaluate.") for name in reached)
    assert not any(name.startswith("components.train") for name in reached)
    assert code_digest("components.evaluate.component") != code_digest("components.gate.component")


def test_a_step_is_known_by_its_code_for_its_own_kind_of_model(tmp_path: Path) -> None:
    file = tmp_path / "some.py"
    file.write_text('part("train", spec.task)\nTASKS = {"retrieval": "serving.retrieval.retriever:Retriever"}\n')
    assert _imports(file, "transcription") == {"components.tasks.transcription.learning", "serving.retrieval.retriever"}
    room = "components.train.component"
    assert code_digest(room, "retrieval") != code_digest(room, "transcription")


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
