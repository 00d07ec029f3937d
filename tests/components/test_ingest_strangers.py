"""Source trees that strangers sent: nothing in them runs, nothing outside them is read, and nothing stops the rest."""

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from test_ingest import MODULE, run, tree

ENV = {
    **os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "a@b.c",
    "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "a@b.c", "GIT_ALLOW_PROTOCOL": "file",
}  # fmt: skip


def git(where: Path, *arguments: str, said: str = "") -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=where, check=True, capture_output=True, text=True, env=ENV, input=said
    )
    return done.stdout.strip()


def repository(place: Path, **files: str) -> Path:
    tree(place, **(files or {"mod_py": MODULE}))
    git(place, "init", "-q")
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "Add the store")
    return place


def lacks(source: Path) -> tuple[list[str], pd.DataFrame]:
    done, table = run(source)
    return [reason for path, reason in done.skipped if path == ".git"], table


@pytest.mark.parametrize("missing", [False, True], ids=["whole", "a tree is missing"])
def test_nothing_that_a_repository_configures_is_run(missing: bool, tmp_path: Path) -> None:
    source = repository(tmp_path / "s")
    trap = tmp_path / "trap.sh"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    extra = tmp_path / "extra"
    extra.write_text(f"[core]\n\tpager = {trap}\n")
    for name, value in {
        "core.sshCommand": trap, "core.fsmonitor": trap, "core.hooksPath": tmp_path, "core.pager": trap,
        "diff.external": trap, "log.showSignature": "true", "gpg.program": trap, "include.path": extra,
        "remote.origin.url": "ssh://nobody@localhost/x", "remote.origin.promisor": "true",
        "extensions.partialClone": "origin", "core.repositoryformatversion": "1", "diff.py.textconv": trap,
    }.items():  # fmt: skip
        git(source, "config", name, str(value))
    (source / ".git" / "info" / "attributes").write_text("*.py diff=py\n")
    if missing:
        tree_id = git(source, "rev-parse", "HEAD^{tree}")
        (source / ".git" / "objects" / tree_id[:2] / tree_id[2:]).unlink()
    lack, table = lacks(source)
    assert not (tmp_path / "sprung").exists()
    assert ("commits/" in "".join(table.path)) is not missing
    assert "load" in set(table.name)
    if missing:
        assert len(lack) == 1 and lack[0].startswith("git cannot read its history")


def test_links_are_followed_inside_the_source_only_and_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "notes.md").write_text("# Secret\nA password.\n")
    source = repository(tmp_path / "s", mod_py=MODULE, pkg__inner_md="# Inner\nWords.\n")
    for name, target in {
        "notes.md": secret / "notes.md", "chain.md": source / "notes.md", "folder": secret, "up": "..",
        "config.md": ".git/config", "here.md": "pkg/inner.md", "loop": "pkg", "gone.md": tmp_path / "nowhere",
    }.items():  # fmt: skip
        (source / name).symlink_to(target)
    os.mkfifo(source / "pipe.md")
    done, table = run(source)
    assert not table.text.str.contains("password|repositoryformat|Secret").any()
    assert {"pkg/inner.md", "here.md"} & set(table.path)
    reasons = dict(done.skipped)
    outside = {"notes.md", "chain.md", "folder", "up", "config.md", "gone.md"}
    assert {path for path, why in reasons.items() if why == "a link that leaves the source"} == outside
    assert reasons["pipe.md"] == "not a regular file"
    assert "already read" in reasons.get("loop", reasons.get("pkg", ""))


def test_a_repository_elsewhere_is_not_read_unless_it_knows_the_source(tmp_path: Path) -> None:
    private = repository(tmp_path / "private", plan_py=MODULE)
    git(private, "worktree", "add", "-q", str(tmp_path / "work"), "-b", "other")
    git(tmp_path / "private", "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(private), "sub")
    for known in (tmp_path / "work", private / "sub"):
        lack, table = lacks(known)
        assert (lack, "commits/" in "".join(table.path)) == ([], True), known
    for name, make in {
        "file": lambda s: (s / ".git").write_text(f"gitdir: {private}/.git\n"),
        "link": lambda s: (s / ".git").symlink_to(private / ".git"),
        "common": lambda s: (s / ".git" / "commondir").write_text(f"{private}/.git\n"),
        "alternates": lambda s: (s / ".git/objects/info/alternates").write_text(f"{private}/.git/objects\n"),
        "alternates by a link": lambda s: (
            (s / "list").write_text(f"{private}/.git/objects\n"),
            (s / ".git" / "objects" / "info" / "alternates").symlink_to(s / "list"),
        ),
        "alternates far down": lambda s: (s / ".git" / "objects" / "info" / "alternates").write_text(
            "\n" * 5000 + f"{private}/.git/objects\n"
        ),
        "an object": lambda s: [
            ((s / ".git" / "objects" / file.parent.name).mkdir(exist_ok=True),
             (s / ".git" / "objects" / file.parent.name / file.name).symlink_to(file))
            for file in (private / ".git" / "objects").glob("??/*")
        ],
        "packs": lambda s: ((s / ".git" / "objects" / "pack").rmdir(),
                            (s / ".git" / "objects" / "pack").symlink_to(private / ".git" / "objects" / "pack")),
    }.items():  # fmt: skip
        source = tree(tmp_path / name, mod_py=MODULE)
        if name not in ("file", "link"):
            git(source, "init", "-q")
            (source / ".git" / "HEAD").write_text(git(private, "rev-parse", "HEAD") + "\n")
        make(source)
        lack, table = lacks(source)
        assert len(lack) == 1 and "commits/" not in "".join(table.path), name


def test_every_lack_of_history_is_said_and_a_plain_folder_has_none_to_say(tmp_path: Path) -> None:
    assert lacks(tree(tmp_path / "plain", mod_py=MODULE))[0] == []
    git(tree(tmp_path / "unborn", mod_py=MODULE), "init", "-q")
    assert lacks(tmp_path / "unborn")[0] == []
    whole = repository(tmp_path / "whole")
    git(whole, "commit", "-q", "--allow-empty", "-m", "More")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{whole}", "shallow")
    lack, table = lacks(tmp_path / "shallow")
    assert "shallow clone" in lack[0] and table.n_changes.max() == 1
    broken = repository(tmp_path / "broken")
    (broken / ".git" / "HEAD").write_text("ref: ../../etc/passwd\n")
    assert lacks(broken)[0] == ["its HEAD names no branch"]
    for damage in (
        lambda s: (s / ".git" / "HEAD").unlink(),
        lambda s: git(s, "symbolic-ref", "HEAD", "refs/heads/gone"),
        lambda s: [ref.write_text("") for ref in (s / ".git" / "refs" / "heads").iterdir()],
    ):
        source = repository(tmp_path / f"damaged {len(list(tmp_path.iterdir()))}")
        damage(source)
        assert "git fsck" in lacks(source)[0][0]
    git(repository(tmp_path / "packed"), "pack-refs", "--all")
    assert lacks(tmp_path / "packed")[0] == []


def test_pipes_and_a_thousand_directories_hold_nothing_up(tmp_path: Path) -> None:
    source = repository(tmp_path / "s")
    os.mkfifo(source / ".mailmap")
    lack, table = lacks(source)
    assert lack == [] and "commits/" in "".join(table.path)
    head = git(source, "rev-parse", "HEAD")
    thing = source / ".git" / "objects" / head[:2] / head[2:]
    thing.unlink()
    os.mkfifo(thing)
    assert "links or devices" in lacks(source)[0][0]
    deep = tree(tmp_path / "deep", mod_py=MODULE)
    at = os.open(deep, os.O_RDONLY)
    for _ in range(1100):
        os.mkdir("a", dir_fd=at)
        inner = os.open("a", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    assert set(lacks(deep)[1].path) == {"mod.py"}
    subprocess.run(["rm", "-rf", str(deep)], check=True)  # shutil.rmtree would recurse


@pytest.mark.parametrize("branch", ["fix/#12-tide,high(er)!", "größer"])
def test_a_branch_may_have_any_name_and_a_commit_any_date_and_message(branch: str, tmp_path: Path) -> None:
    source = repository(tmp_path / "s")
    git(source, "checkout", "-q", "-b", branch)
    (source / 'a"b.py').write_text(MODULE.replace("Store", "Shop"))
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "Odd \x1e signs \x1f\n/and lines")
    tree_id = git(source, "rev-parse", "HEAD^{tree}")
    lack, table = lacks(source)
    assert lack == [] and table.set_index("path").n_changes['a"b.py'].max() == 1
    assert table.doc.str.contains("/and lines").any()
    for at in ("99999999999999 +0000", "-5 +0000", ""):
        text = f"tree {tree_id}\nauthor A <a@b.c> {at}\ncommitter A <a@b.c> {at}\n\nA date\n"
        git(
            source,
            "update-ref",
            "HEAD",
            git(source, "hash-object", "-t", "commit", "-w", "--stdin", "--literally", said=text),
        )
        lack, table = lacks(source)
        assert (
            lack == [] and table.changed_at.eq(pd.Timestamp(0, tz="UTC")).all() and table.commit.str.len().eq(40).all()
        )


def test_a_file_that_git_does_not_track_has_the_date_of_its_writing(tmp_path: Path) -> None:
    source = repository(tmp_path / "s")
    (source / "new.md").write_text("# New\nNot yet added.\n")
    os.utime(source / "new.md", (1_700_000_000, 1_700_000_000))
    _, table = run(source)
    assert table.set_index("path").changed_at["new.md"] == pd.Timestamp(1_700_000_000, unit="s", tz="UTC")


def test_folders_named_like_builds_are_read_where_they_are_code_and_named_where_not(tmp_path: Path) -> None:
    source = repository(
        tmp_path / "s", src__build__env_py=MODULE.replace("Store", "Env"), src__build__x_md="# Tracked\nWords.\n"
    )
    (source / "pack" / "dist").mkdir(parents=True)
    (source / "pack" / "dist" / "__init__.py").write_text(MODULE.replace("Store", "Normal"))
    for other, file in (("build", "lib.py"), ("own", "pyvenv.cfg"), ("node_modules", "a.md"), ("__pycache__", "a.py")):
        (source / other).mkdir()
        (source / other / file).write_text(MODULE)
    done, table = run(source)
    assert {"Env", "Normal", "Tracked"} <= set(table.name)
    reasons = dict(done.skipped)
    assert set(reasons) == {"build", "own", "node_modules"}
    assert "no __init__.py, and git does not track it" in reasons["build"] and "virtual" in reasons["own"]


def test_half_an_emoji_or_a_name_that_is_not_utf8_stops_nothing(tmp_path: Path) -> None:
    half = '"""Say \\ud83d aloud, and \\ud83d\\ude00 too."""'
    source = tree(tmp_path / "s", a_py=f'def say(x="\\udc80"):\n    {half}\n', b_py=MODULE)
    with open(os.fsencode(source) + b"/caf\xe9.md", "wb") as file:
        file.write(b"# Coffee\nHow to make it.\n")
    with open(os.fsencode(source) + b"/broken\xe9.py", "wb") as file:
        file.write(b"def f(:\n")
    issues = tmp_path / "issues.jsonl"
    late = '{"number": 8, "title": "For ever", "updated_at": "9999-12-31T00:00:00Z"}\n'
    issues.write_text('{"number": 7, "title": "Crash on \\ud83d", "body": "It stops."}\n' + late + "[" * 100_000 + "\n")
    done, table = run(source, issues=str(issues))
    rows = table.set_index("name")
    assert rows.doc["say"] == "Say \ufffd aloud, and \U0001f600 too."
    assert rows.path["Coffee"] == "caf\ufffd.md" and "#7 Crash on \ufffd" in rows.index
    assert [path for path, _ in done.skipped] == ["broken\ufffd.py", "issues.jsonl:3"]
