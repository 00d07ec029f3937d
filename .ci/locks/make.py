"""`make lock`: writes the files beside this one out of pyproject.toml and constraints.txt, with uv.

Every version has the hashes of all its files, for every platform and Python from 3.11 on, so that pip takes it with
--require-hashes wherever it came from. serving.txt, trainer.txt, dev.txt and bench.txt are installed on top of each
other; build.txt makes wheels of what comes as source; sbom.txt and load.txt stand alone. PyTorch is in none of them:
which build of it is wanted, with CUDA or without, and so its hash, depends on the index that it comes from.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# What comes with PyTorch, from wherever that comes.
_WITH_TORCH = re.compile(r"torch|triton|nvidia-.*|cuda-.*")
_PYTHON = "3.11"


def compiled(requirements: list[str]) -> dict[str, str]:
    """Name to its lines of a lock, hashes included, for all that ``requirements`` lead to."""
    beside = Path(sys.executable).with_name("uv")
    if not beside.is_file():
        sys.exit("no uv beside this Python; `make lock` installs it")
    uv = [str(beside), "pip", "compile", "-", "--constraint", "constraints.txt"]
    flags = ["--universal", "--python-version", _PYTHON, "--generate-hashes", "--no-header", "--no-annotate"]
    done = subprocess.run(
        [*uv, *flags, "--no-emit-index-url", "--quiet"],
        input="\n".join(requirements),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt", **os.environ},
    )
    if done.returncode:
        sys.exit(done.stderr)
    blocks = re.split(r"\n(?=\S)", done.stdout.strip())
    return {block.partition("==")[0]: block for block in blocks}


def main() -> None:
    """Write every lock."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    base = project["project"]["dependencies"]
    train = [*base, *extras["load"], *(r for r in extras["train"] if not r.startswith("sluice["))]

    def further(name: str) -> list[str]:
        return [*train, *(r for r in extras[name] if not r.startswith("sluice["))]

    have: dict[str, str] = {}
    for name, wanted in (("serving", base), ("trainer", train), ("dev", further("dev")), ("bench", further("bench"))):
        found = compiled(wanted)
        # The same version again where more needs it, such as on more platforms.
        write(name, {k: block for k, block in found.items() if have.get(k) != block and not _WITH_TORCH.fullmatch(k)})
        have |= found
    write("build", compiled(project["build-system"]["requires"]))
    write("sbom", compiled(["cyclonedx-bom"]))
    write("load", compiled(extras["load"]))


def write(name: str, blocks: dict[str, str]) -> None:
    """Write one lock."""
    about = (
        "# Made by `make lock` from pyproject.toml and constraints.txt; see make.py. Installed with --require-hashes.\n"
    )
    (HERE / f"{name}.txt").write_text(about + "".join(f"{blocks[k]}\n" for k in sorted(blocks)))


if __name__ == "__main__":
    main()
