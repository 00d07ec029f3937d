"""Every field of every object: Kubernetes' own schemas, KServe's CRDs and client models, ours for other kinds."""

import functools
import importlib.resources
import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import yaml
from referencing import Registry, Resource

from manifests.check.build import MANIFESTS, Loader, Object, label
from serving.contract.errors import SluiceError

CRDS = MANIFESTS.parents[1] / "shared" / "crds"
KUBERNETES = "v1.37.0-local-strict"
_OWN = Path(__file__).parent / "schemas"
_KSERVE = "serving.kserve.io"
_METADATA = "https://kubernetes.io/api/_definitions.json#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def schema_errors(found: Object, crds: Path = CRDS) -> list[str]:
    """What is wrong with an object's fields, as "Kind name: path: what"; empty when nothing is."""
    try:
        return [f"{label(found)}: {problem}" for problem in _field_errors(found, crds)]
    except SluiceError as error:
        return [str(error)]


def _field_errors(found: Object, crds: Path) -> list[str]:
    if "kind" not in found:
        return ["top level: 'kind' is a required property"]
    version, kind = str(found.get("apiVersion")), str(found["kind"])
    if version.startswith(f"{_KSERVE}/"):
        from manifests.check.client_models import model_errors

        return [*_messages(kserve_validator(found, crds), found), *model_errors(found)]
    return _messages(own_validator(found) or kubernetes_validator(version, kind), found)


def _messages(validator: Any, found: Object) -> list[str]:
    if validator is None:
        return []
    return [f"{'.'.join(map(str, e.absolute_path)) or 'top level'}: {e.message}" for e in validator.iter_errors(found)]


@functools.cache
def kubernetes_validator(version: str, kind: str) -> Any:
    """The strict schema of a built-in kind; SluiceError for a kind that Kubernetes does not have."""
    group, _, plain = version.rpartition("/")
    stem = "-".join(filter(None, [kind.lower(), group.split(".")[0], plain]))
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / KUBERNETES
    try:
        schema = json.loads((folder / f"{stem}.json").read_text())
    except FileNotFoundError:
        raise SluiceError(f"{kind} ({version}): neither Kubernetes 1.37 nor check/schemas has it") from None
    return jsonschema.Draft202012Validator(schema, registry=_definitions())


@functools.cache
def _definitions() -> Any:
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / KUBERNETES
    return Resource.from_contents(json.loads((folder / "_definitions.json").read_text())) @ Registry()


@functools.cache
def _own_schemas() -> dict[tuple[str, str], Any]:
    found: dict[tuple[str, str], Any] = {}
    for path in sorted(_OWN.glob("*.yaml")):
        for schema in yaml.load_all(path.read_text(), Loader=Loader):
            key = (schema["properties"]["apiVersion"]["const"], schema["properties"]["kind"]["const"])
            found[key] = jsonschema.Draft202012Validator(schema)
    return found


def own_validator(found: Object) -> Any:
    """The schema of our own for an object of Argo CD, prometheus-operator or the Gateway API, None for other kinds."""
    return _own_schemas().get((str(found.get("apiVersion")), str(found.get("kind"))))


def kserve_validator(found: Object, crds: Path = CRDS) -> Any:
    """KServe's CRD with every object closed; None where the CRDs are not at hand."""
    if not crds.is_dir():
        return None
    version, kind = str(found["apiVersion"]).rpartition("/")[2], str(found.get("kind"))
    made = _crd(crds, kind).get(version)
    if made is None:
        raise SluiceError(f"{label(found)}: KServe has no {kind} of version {version}")
    return made


@functools.cache
def _crd(place: Path, kind: str) -> dict[str, Any]:
    path = place / f"{_KSERVE}_{kind.lower()}s.yaml"
    if not path.is_file():
        return {}
    made: dict[str, Any] = {}
    for version in yaml.load(path.read_text(), Loader=Loader)["spec"]["versions"]:
        closed = close(version["schema"]["openAPIV3Schema"])
        closed["required"] = ["apiVersion", "kind", "metadata", "spec"]
        # A CRD leaves metadata open.
        closed["properties"]["metadata"] = {"$ref": _METADATA}
        made[version["name"]] = jsonschema.Draft202012Validator(closed, registry=_definitions())
    return made


def close(schema: Any) -> Any:
    """A structural schema with every object closed that lists its properties, so that an unknown field is an error."""
    if isinstance(schema, list):
        return [close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: close(v) for k, v in schema.items() if k not in ("description", "default")}
    if isinstance(schema.get("properties"), dict):
        made["properties"] = {k: close(v) for k, v in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made
