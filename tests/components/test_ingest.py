import importlib.util
import json
import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from components.common.window import TokenWindow, default_tokenizer
from components.ingest.run import Ingested, ingest
from components.ingest.settings import IngestSettings
from serving.contract.errors import SluiceError

MODULE = '''"""Module."""
import os


class Store(dict):
    """Keeps rows on disk.

    Args:
        path (`str`): Where the rows are kept.
    """

    limit: int = 3

    def __init__(self, path):
        self.path = path

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self)

    def _hidden(self):
        return 1

    def __len__(self):
        return 0


if os.name:
    def load(
        path: str, *, strict: bool = True,  # comment
    ) -> Store:
        """Load a store from `path`."""
        rows = read(path)
        return Store(rows)


def one(): return 1
'''


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_py", ".py").replace("_md", ".md")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def run(source: Path, **settings: object) -> tuple[Ingested, pd.DataFrame]:
    out = source.parent / "passages.parquet"
    done = ingest(str(source), "all", IngestSettings.model_validate({"workers": 1, **settings}), out)
    return done, pd.read_parquet(out)


def test_symbols_come_with_signature_documentation_code_and_lines(tmp_path: Path) -> None:
    _, table = run(tree(tmp_path / "s", mod_py=MODULE), url="https://x/{path}#L{start}-L{end}")
    rows = table.set_index("name")
    assert list(table["name"]) == ["Store", "Store.size", "load"]
    assert rows.kind.to_dict() == {"Store": "class", "Store.size": "method", "load": "function"}
    assert rows.signature["load"].startswith("def load( path: str, *, strict: bool = True")
    assert rows.signature["Store"] == "class Store(dict) def __init__(self, path)"
    assert rows.summary["Store"] == "Keeps rows on disk." and rows.body["Store"] == "limit: int = 3\nmethods: size"
    assert (rows.start_line["Store.size"], rows.end_line["Store.size"]) == (17, 20)
    assert rows.url["load"] == f"https://x/mod.py#L{rows.start_line['load']}-L{rows.end_line['load']}"
    assert "rows = read(path)" in rows.text["load"] and "mod: load" in rows.text["load"]
    assert str(table["changed_at"].dtype) == "datetime64[us, UTC]" and table["n_changes"].eq(0).all()


def test_every_passage_fits_the_window_and_long_documentation_continues(tmp_path: Path) -> None:
    entries = "\n".join(f"        arg_{i} (`int`):\n            The {i}th of the many numbers." for i in range(60))
    source = (
        f'def many():\n    """Take numbers.\n\n    Args:\n{entries}\n    """\n' + "    x = '" + "y" * 3000 + "'\n" * 2
    )
    _, table = run(tree(tmp_path / "s", mod_py=source.replace("'\n'", "'")), max_tokens=128)
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(default_tokenizer()))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    counts = [len(e.ids) for e in tokenizer.encode_batch(table["text"].tolist())]
    assert counts == table["n_tokens"].tolist() and max(counts) <= 128 and len(table) > 5
    assert table["passage_id"].is_unique
    for i in range(60):
        assert sum(f"The {i}th of" in text for text in table["text"]) == 1


def test_a_tokenizer_that_keeps_white_space_in_its_tokens_is_never_underestimated(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    text = "def f(x):\n\n\n        return  x + 1   # ünïcode\n" * 8
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([text], trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    window = TokenWindow(str(tmp_path / "tokenizer.json"), 64)
    end, spent = window.fit(text, 40)
    assert 0 < end < len(text) and len(tokenizer.encode(text[:end]).ids) <= spent <= 40
    assert window.count(text) >= len(tokenizer.encode(text).ids)


def test_markdown_sections_follow_headings_but_not_those_in_code(tmp_path: Path) -> None:
    text = "intro\n\n# Guide\nHow to.\n\n```bash\n# not a heading\nls\n```\n\n"
    text += "## Install\n\nRun pip.\n\n# Other\n\n## Empty\n"
    _, table = run(tree(tmp_path / "s", docs__guide_md=text))
    assert list(table["name"]) == ["docs/guide.md", "Guide", "Guide > Install"]
    assert "# not a heading" in table["doc"][1] and table["start_line"].tolist() == [1, 3, 11]


def test_broken_files_are_named_and_skipped(tmp_path: Path) -> None:
    source = tree(tmp_path / "s", good_py=MODULE, bad_py="def broken(:\n  pass # class \n", nul_py="def f():\0")
    (source / "latin.py").write_bytes(b"def f():\n    '''caf\xe9 is served here'''\n")
    (source / "cookie.py").write_bytes(b"# -*- coding: latin-1 -*-\ndef f():\n    '''Serve the caf\xe9.'''\n")
    (source / "big.py").write_text("x = 1\n" * 50_000)
    (source / "loop").symlink_to(source)
    (source / "gone.py").symlink_to(source / "nowhere.py")
    done, table = run(source, max_file_bytes=100_000)
    assert {s.path for s in done.skipped} == {"bad.py", "nul.py", "latin.py", "big.py", "loop", "gone.py"}
    assert set(table["path"]) == {"good.py", "cookie.py"} and table["doc"].str.contains("café").any()


def test_a_source_without_anything_to_read_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(SluiceError, match="no such directory"):
        ingest(str(tmp_path / "none"), "all", IngestSettings(), tmp_path / "p.parquet")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SluiceError, match="nothing to index"):
        ingest(str(tmp_path / "empty"), "all", IngestSettings(), tmp_path / "p.parquet")
    with pytest.raises(SluiceError, match="unknown; use 'core'"):
        ingest(str(tmp_path / "empty"), "some", IngestSettings(), tmp_path / "p.parquet")
    assert not (tmp_path / "p.parquet").exists()


def test_copied_code_counts_once_and_nothing_depends_on_the_number_of_workers(tmp_path: Path) -> None:
    files = {f"m{i}_py": MODULE.replace("Keeps", f"Keeps {i // 2}") + f"\n\nX = '{'1' * 250_000}'\n" for i in range(6)}
    source = tree(tmp_path / "s", **files)
    first, table = run(source)
    again, other = run(source, workers=2)
    assert (table["name"] == "load").sum() == 1 and (table["name"] == "Store").sum() == 3
    assert first.digest == again.digest
    pd.testing.assert_frame_equal(table, other)


def test_git_history_gives_commits_and_ages(tmp_path: Path) -> None:
    source = tree(tmp_path / "s", a_py=MODULE)

    def git(*arguments: str, at: str = "2024-05-01T10:00:00Z") -> None:
        env = {**os.environ, "GIT_AUTHOR_DATE": at, "GIT_COMMITTER_DATE": at, "GIT_CONFIG_GLOBAL": "/dev/null"}
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *who, *arguments], cwd=source, check=True, capture_output=True, env=env)

    git("init")
    git("add", ".")
    git("commit", "-m", "Add the store\n\nRows were lost before.")
    (source / "a.py").write_text(MODULE.replace("Load a store", "Read a store"))
    git("commit", "-am", "Speak of reading", at="2024-06-01T10:00:00Z")
    _, table = run(source, url="https://x/{commit}/{path}")
    code, commits = table[table["path"] == "a.py"], table[table["kind"] == "commit"]
    assert code["n_changes"].eq(2).all() and code["changed_at"].dt.strftime("%Y-%m").eq("2024-06").all()
    assert code["commit"].str.len().eq(40).all() and code["url"].iloc[0].startswith(
        f"https://x/{code['commit'].iloc[0]}/"
    )
    assert set(commits["doc"]) == {"Add the store\n\nRows were lost before.", "Speak of reading"}
    assert commits["text"].str.contains("touches a.py").all()


def test_issues_and_pull_requests_come_from_a_rest_export(tmp_path: Path) -> None:
    rows = [
        {"number": 7, "title": "Crash on load", "body": "It crashes.\r\nAlways.", "state": "open",
         "labels": [{"name": "bug"}], "html_url": "https://x/7", "updated_at": "2024-01-02T03:04:05Z"},
        {"number": 8, "title": "Fix it", "body": None, "pull_request": {"url": "u"}},
    ]  # fmt: skip
    export = tmp_path / "issues.jsonl"
    export.write_text("\n".join(json.dumps(r) for r in rows) + "\n[1]\n")
    done, table = run(tree(tmp_path / "s", a_py=MODULE), issues=str(export))
    found = table[table["kind"] == "issue"].set_index("path")
    assert found.url["issues/7"] == "https://x/7" and "bug" in found.text["issues/7"]
    assert "pull request #8" in found.text["issues/8"]
    assert [s.path for s in done.skipped] == ["issues.jsonl:3"]
    with pytest.raises(SluiceError, match="no such file"):
        run(tmp_path / "s", issues=str(tmp_path / "none.jsonl"))


def test_a_file_and_its_passages_lie_in_one_split_and_splits_have_their_shares() -> None:
    from components.common.passages import split_of

    shares = pd.Series([split_of(f"models/m{i}.py") for i in range(5000)]).value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.8, abs=0.03) and shares["test"] == pytest.approx(0.1, abs=0.02)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="the default source is not installed")
def test_the_core_of_the_default_source_is_a_subset_of_all(tmp_path: Path) -> None:
    from components.ingest.files import select, source_root

    settings = IngestSettings()
    root = source_root("")
    core, _ = select(root, "core", True, settings)
    everything, _ = select(root, "all", True, settings)
    assert {"trainer.py", "generation/utils.py", "models/bert/modeling_bert.py"} <= set(core) < set(everything)


def test_the_component_hands_over_count_and_digest(tmp_path: Path) -> None:
    from kfp.dsl import Dataset

    from components.ingest.component import ingest as component

    passages = Dataset(uri=str(tmp_path / "p.parquet"))
    count, digest = component.python_func(
        source=str(tree(tmp_path / "s", a_py=MODULE)),
        source_digest="",
        part="all",
        settings={"max_tokens": 256.0},
        passages=passages,
    )
    assert count == 3 == len(pd.read_parquet(passages.path)) and passages.metadata["digest"] == digest


def test_a_source_of_few_files_still_has_every_split_and_keeps_files_whole() -> None:
    from components.common.passages import split_of, splits

    few = {f"package/module_{number}.py": 10 for number in range(4)}
    assert set(splits(few).values()) == {"train", "val", "test"}
    many = {f"package/module_{number}.py": 10 for number in range(500)}
    assert splits(many) == {path: split_of(path) for path in many}
    assert splits({"only.py": 5}) == {"only.py": "train"} or split_of("only.py") != "train"
