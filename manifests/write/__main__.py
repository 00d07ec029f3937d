"""`python -m manifests.write`: what repeats per endpoint, written from the systems' declarations."""

import argparse
import shutil
import sys
from pathlib import Path

from manifests.write.files import ROOT, declared, outdated
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir, atomic_file


def write(root: Path, elsewhere: bool = False) -> list[Path]:
    """Bring the files of a repository up to date, with the systems that lie ``elsewhere`` or without; what changed."""
    changed = list(outdated(root, declared(elsewhere)))
    for path, text in changed:
        with atomic_file(path) as scratch:
            scratch.write_text(text)
    return [path for path, _ in changed]


def write_to(target: Path) -> None:
    """Write ``target/manifests`` and ``target/load_tests/slo``: ours, and what systems elsewhere on PYTHONPATH need.

    A rollout finds both when ``target`` is on PYTHONPATH too. Raises SluiceError when ``target`` is not empty or new.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SluiceError(f"{target} is there already; name a new folder, or remove it first")
    with atomic_dir(target) as scratch:
        code = shutil.ignore_patterns("check", "write", "*.py", "__pycache__")
        for place in ("manifests", "load_tests/slo"):
            shutil.copytree(ROOT / place, scratch / place, ignore=code)
        write(scratch, elsewhere=True)


def main(arguments: list[str] | None = None) -> int:
    """Write, or say what is not up to date; the exit status, 1 on any problem."""
    parser = argparse.ArgumentParser(prog="python -m manifests.write", description=__doc__)
    parser.add_argument("--to", type=Path, metavar="DIR", help="write a copy, also with systems that lie elsewhere")
    asked = parser.parse_args(arguments)
    try:
        if asked.to:
            write_to(asked.to)
            print(f"wrote {asked.to}")
            return 0
        changed = write(ROOT)
    except SluiceError as error:
        print(f"manifests: {error}", file=sys.stderr)
        return 1
    print("\n".join(f"wrote {path.relative_to(ROOT)}" for path in changed) or "everything is as declared")
    return 0


if __name__ == "__main__":
    sys.exit(main())
