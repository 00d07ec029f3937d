"""A git repository that nobody trusts: its objects are read, its configuration never is, so nothing in it can run.

A tree's ``.git`` may name programs (``core.sshCommand``, ``core.fsmonitor``, a pager, filters), servers to fetch from,
and directories elsewhere. So git is given an empty repository of our own that borrows the tree's objects
and begins at the commit that the tree's ``HEAD`` names.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_REF = re.compile(r"refs/[^\x00-\x20\x7f~^:?*\[\\]+")  # git check-ref-format
_SMALL, _LARGE = 4096, 64 << 20
SECONDS = 300


class NoHistory(Exception):
    """Why there is none: a sentence, or "" where the source simply lies in no repository with a commit."""


def git_log(root: Path, *arguments: str) -> tuple[str, bool]:
    """What ``git log`` prints below ``root``, and whether its history is cut off (a shallow clone).

    Errors: `NoHistory`.
    """
    with _borrowed(root) as (top, private, objects, shallow):
        command = ["git", "--no-pager", "log", "--no-ext-diff", "--no-textconv", "--no-mailmap", *arguments]
        environment = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
        environment |= {
            "GIT_DIR": str(private), "GIT_WORK_TREE": str(top), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C",
            "GIT_CONFIG_GLOBAL": os.devnull, "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1",
            "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1", "HOME": str(private),
            "GIT_OBJECT_DIRECTORY": str(objects),
        }  # fmt: skip
        try:
            done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False, timeout=SECONDS)
        except FileNotFoundError:
            raise NoHistory("git is not installed, so its history is not read") from None
        except subprocess.TimeoutExpired:
            raise NoHistory(f"git did not read its history within {SECONDS} s") from None
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[:200]
        raise NoHistory(f"git cannot read its history ({said}); `git fsck` there tells more")
    return done.stdout.decode(errors="surrogateescape"), shallow


@contextmanager
def _borrowed(root: Path) -> Iterator[tuple[Path, Path, Path, bool]]:
    """The work tree's top, a repository of our own that begins at its commit, its objects, and if it is shallow."""
    top = next((folder for folder in (root, *root.parents) if os.path.lexists(folder / ".git")), None)
    if top is None:
        raise NoHistory("")
    try:
        git = _git_directory(top)
        common = _common(git)
        head, objects, shallow = _head(git, common), _objects(common), _read(common / "shallow", _LARGE)
    except OSError as error:
        raise NoHistory(f"its repository cannot be read ({error.strerror}: {error.filename})") from None
    with tempfile.TemporaryDirectory(prefix="sluice-git-") as place:
        private = Path(place)
        for folder in ("refs", "objects"):
            (private / folder).mkdir()
        (private / "HEAD").write_text(f"{head}\n")
        format_ = "\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256\n" if len(head) == 64 else ""
        # Both name other files, so what they say is not believed; without them git reads the same, a little slower.
        (private / "config").write_text(f"[core]\n\tmultiPackIndex = false\n\tcommitGraph = false\n{format_}")
        if shallow:
            (private / "shallow").write_text("".join(f"{name}\n" for name in shallow.split() if _ID.fullmatch(name)))
        yield top, private, objects, bool(shallow)


def _git_directory(top: Path) -> Path:
    """The repository of a work tree; one elsewhere must itself name this work tree, as git's own do."""
    git = top / ".git"
    if not git.is_file():
        return _inside(git, top)
    said = _read(git, _SMALL)
    if not said.startswith("gitdir:"):
        raise NoHistory("its .git is a file that names no repository")
    place = (top / said.removeprefix("gitdir:").strip()).resolve()
    back = _read(place / "gitdir", _SMALL).strip()  # a work tree of `git worktree add`
    if back and Path(back).resolve() == git.resolve():
        return place
    tree = re.search(r"^\s*worktree\s*=\s*(.+?)\s*$", _read(place / "config", _SMALL * 16), re.MULTILINE)
    if tree and (place / tree[1]).resolve() == top.resolve():  # a submodule
        return place
    raise NoHistory("its .git names a repository elsewhere that does not know it, so that one is not read")


def _common(git: Path) -> Path:
    shared = _read(git / "commondir", _SMALL).strip()
    common = (git / shared).resolve() if shared else git
    if not git.is_relative_to(common):
        raise NoHistory("its .git shares a repository that it is no part of, so that one is not read")
    return common


def _objects(common: Path) -> Path:
    objects = _inside(common / "objects", common)
    left = [str(objects)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                elif not entry.is_file(follow_symlinks=False):
                    raise NoHistory("its repository holds links or devices among its objects, so it is not read")
    alternates = objects / "info" / "alternates"
    if alternates.exists() and alternates.stat().st_size:
        raise NoHistory(
            "its repository borrows objects from another one (git clone --shared); `git repack -ad` ends that"
        )
    return objects


def _inside(path: Path, folder: Path) -> Path:
    found = path.resolve()
    if not found.is_dir() or not found.is_relative_to(folder.resolve()):
        raise NoHistory(f"its {path.name} is no directory of its own, so it is not read")
    return found


def _head(git: Path, common: Path) -> str:
    """The commit that ``HEAD`` names; refs are followed by hand, as far as git itself would."""
    head, ref = git / "HEAD", ""
    name = f"ref: {os.readlink(head)}" if head.is_symlink() else _read(head, _SMALL).strip()
    if not name:
        raise NoHistory("its repository has no HEAD, or an empty one; `git fsck` there tells more")
    for _ in range(5):
        if not name.startswith("ref:"):
            break
        ref = name.removeprefix("ref:").strip()
        if not _REF.fullmatch(ref) or ".." in ref:
            raise NoHistory("its HEAD names no branch")
        name = (_read(git / ref, _SMALL) or _read(common / ref, _SMALL)).strip() or _packed(common, ref)
    if not name:
        raise NoHistory(_unborn(git, common, ref))
    if not _ID.fullmatch(name):
        raise NoHistory("its HEAD names no commit")
    return name


def _unborn(git: Path, common: Path, ref: str) -> str:
    """Why the branch ``ref`` has no commit: "" where nothing was committed yet."""
    if (common / "reftable").is_dir():
        return "its repository keeps its branches as reftable, which is not read"
    heads = common / "refs" / "heads"
    born = _read(git / "logs" / "HEAD", _SMALL) or _read(common / "packed-refs", _SMALL)
    if born or (heads.is_dir() and any(heads.iterdir())):
        return f"its HEAD names {ref}, which is missing or empty; `git fsck` there tells more"
    return ""


def _packed(common: Path, ref: str) -> str:
    lines = (line.split(" ", 1) for line in _read(common / "packed-refs", _LARGE).splitlines() if " " in line)
    return next((name for name, found in lines if found == ref), "")


def _read(path: Path, most: int) -> str:
    """A regular file's first bytes as text; "" where there is none, or a link."""
    if path.is_symlink() or not path.is_file():
        return ""
    with path.open("rb") as stream:
        return stream.read(most).decode(errors="replace")
