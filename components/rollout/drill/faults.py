"""Broken canaries: bundles with a fault, and manifests whose server is started through the faulty one."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from components.rollout.manifests import read_manifests
from components.tasks import Drilling, find
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError


def drilling_of(bundle: Path) -> Drilling:
    """What the bundle's task says of drills. Errors: `SluiceError` where it has none."""
    task = Bundle.read(bundle).task
    found = find(task).drilling()
    if found is None:
        raise SluiceError(f"{bundle}: task '{task}' has no drills; name a system whose task has (components/tasks)")
    return found


def copy_bundle(bundle: Path, target: Path, note: str) -> Path:
    """Copy a bundle by hard links, its ``bundle.json`` marked with ``note`` so that its content digest is another."""
    shutil.copytree(bundle, target, copy_function=_link, dirs_exist_ok=True)
    described = json.loads((bundle / "bundle.json").read_text())
    described["lineage"] = {**(described.get("lineage") or {}), "code": note}
    _replace(target / "bundle.json", json.dumps(described, indent=1).encode())
    return target


def wrong_answers(bundle: Path, target: Path) -> Path:
    """A bundle that answers in the right shape and just as fast, and is always wrong; how, its task knows."""
    copy_bundle(bundle, target, "drill: wrong answers")
    drilling_of(bundle).spoil(target)
    return target


def corrupt(bundle: Path, target: Path) -> Path:
    """A bundle whose models were cut short, as by a full disk: no server can load them."""
    copy_bundle(bundle, target, "drill: corrupt")
    for model in sorted(target.rglob("*.onnx")):
        _replace(model, model.read_bytes()[:1000])
    return target


def faulty_manifests(system: str, directory: str, target: Path, flags: list[str]) -> Path:
    """Manifests whose runtime starts the server through `faulty_server` with ``flags``; the bundle is a sound one."""
    found = read_manifests(system, directory)
    runtime: dict[str, Any] = json.loads(json.dumps(found.runtime))
    container = next(c for c in runtime["spec"]["containers"] if c["name"] == "kserve-container")
    container["command"] = [
        "python",
        "-m",
        "components.rollout.drill.faulty_server",
        *flags,
        "--",
        *container["command"],
    ]
    target.mkdir(parents=True, exist_ok=True)
    (target / "service.yaml").write_text(yaml.safe_dump_all([found.service, runtime]))
    return target


def asked_of(bundle: Path) -> list[dict[str, Any]]:
    """Labelled request rows for a bundle where no release has left any, as its task makes them up."""
    return drilling_of(bundle).asked(bundle)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _replace(path: Path, content: bytes) -> None:
    path.unlink()  # it may be a hard link: writing into it would change the original
    path.write_bytes(content)
