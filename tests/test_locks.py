"""The locks: every file that an install takes has a hash, and they are those of pyproject.toml and constraints.txt."""

import hashlib
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / ".ci" / "locks"
NAMES = sorted(path.stem for path in LOCKS.glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# What each lock is installed on top of.
UNDER = {"trainer": ["serving"], "dev": ["serving", "trainer"], "bench": ["serving", "trainer"]}
EXTRAS = {"serving": [], "trainer": ["train", "load"], "dev": ["train", "load", "dev"], "bench": ["bench"]}


def pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==([^\s;]+)", (LOCKS / f"{name}.txt").read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in found}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(line.split("==")[0]): line.split("==")[1] for line in lines if "==" in line}


@pytest.mark.parametrize("name", NAMES)
def test_every_version_has_its_hashes_and_no_address(name):
    text = (LOCKS / f"{name}.txt").read_text()
    for block in re.split(r"\n(?=\w)", text.partition("\n")[2].strip()):
        assert re.match(r"[\w.-]+==[^\s;]+", block), block[:80]
        assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", block)) >= 1, block[:80]
    assert "//" not in text


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_has_the_versions_that_are_tested(name):
    known = constraints()
    different = {k: (v, known[k]) for k, v in pins(name).items() if k in known and known[k] != v}
    assert different == {}
    # What is not in constraints.txt is for systems that the tests do not run on.
    assert {k for k in pins(name) if k not in known} <= {"pywin32", "waitress", "httpx2-jsfetch"}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_holds_all_that_the_project_asks_for(name):
    have = {package for lock in [*UNDER.get(name, []), name] for package in pins(lock)}
    extras = PROJECT["optional-dependencies"]
    asked = [*PROJECT["dependencies"], *(r for extra in EXTRAS[name] for r in extras[extra])]
    wanted = {canonicalize_name(Requirement(text).name) for text in asked} - {"sluice", "torch"}
    assert wanted - have == set()


def test_pip_refuses_a_file_that_is_not_the_locked_one(tmp_path):
    wheel = tmp_path / "colour-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("colour.py", "")
        packed.writestr("colour-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: colour\nVersion: 1.0\n")
        packed.writestr("colour-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr("colour-1.0.dist-info/RECORD", "")
    flags = re.search(r"LOCKED := install (.*)", (ROOT / "Makefile").read_text())[1].split()
    good = hashlib.sha256(wheel.read_bytes()).hexdigest()
    for digest, accepted in ((good, True), ("0" * 64, False)):
        (tmp_path / "lock.txt").write_text(f"colour==1.0 --hash=sha256:{digest}\n")
        pip = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(tmp_path), *flags]
        done = subprocess.run(
            [*pip, "--target", str(tmp_path / "to"), "-r", str(tmp_path / "lock.txt")], capture_output=True, text=True
        )
        assert (done.returncode == 0) == accepted, done.stderr
    assert "do not match" in done.stderr.lower()


def commands(place: Path) -> list[str]:
    return [part.strip() for part in re.split(r"&&|\n", place.read_text().replace("\\\n", " "))]


def test_images_and_workflows_install_by_hash():
    places = (ROOT / "Dockerfile", *(ROOT / ".github/workflows").glob("*.yml"))
    told = [command for place in places for command in commands(place)]
    installs = [command for command in told if re.search(r"pip\b.* install\b", command)]
    assert len(installs) >= 4
    assert [c for c in installs if "--require-hashes" not in c and " pip=" not in c] == []
    # PyTorch, of which every index has its own build, and our own code.
    loose = [c.split() for c in told if "${pip}" in c and not c.startswith("locked=")]
    assert [words[-3:] for words in loose] == [
        ["torch", "-c", "constraints.txt"],
        ["--no-deps", "--no-build-isolation", "."],
    ]
