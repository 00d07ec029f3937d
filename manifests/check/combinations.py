"""Which builds are checked: the overlays as they stand, and every combination of components that they could have."""

import functools
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import yaml

from manifests.check.admission import admission_errors
from manifests.check.build import MANIFESTS, OVERLAYS, Object, build, label, overlay_directory
from manifests.check.policy import policy_errors
from manifests.check.references import Names, reference_errors
from manifests.check.schema import CRDS, schema_errors
from manifests.check.values import CONSTANTS, read_values
from manifests.check.webhook import webhook_errors
from manifests.write.files import ROOT, declared, outdated
from serving.contract.errors import SluiceError
from serving.contract.modes import ANNOTATION

ENGINES = ("namespace", "postgres", "redis", "minio", "mlflow", "feast", "trainjob", "storage-pvc", "graph-seccomp")
STORAGES = ((), ("storage-s3",), ("storage-oci",))
MODES = ((), ("standard",), ("standard", "keda"))
EXTRAS = ((), ("spread",), ("gpu",), ("spread", "gpu"))
# The setting that names an engine, and what it is when the engine is somebody else's.
_ELSEWHERE = {
    "mlflow": ("MLFLOW_TRACKING_URI", "http://mlflow:5000", "https://mlflow.example.com"),
    "feast": ("SLUICE_FEATURE_SERVER", "http://feast:6566", "https://feast.example.com"),
    "minio": ("AWS_ENDPOINT_URL", "http://minio:9000", "https://s3.example.com"),
}


@dataclass
class Count:
    """How much was checked, to be printed."""

    builds: int = 0
    objects: int = 0
    crds: bool = CRDS.is_dir()

    def __str__(self) -> str:
        """One line for a person."""
        crds = "KServe's CRDs and client models" if self.crds else "KServe's client models (its CRDs are not at hand)"
        checked = f"Kubernetes 1.37's schemas, {crds}, references, policy"
        return f"manifests: {self.builds} builds with {self.objects} objects pass: {checked}"


def check_overlay(name: str) -> Count:
    """Check one overlay's values, then its platform and its endpoints together; SluiceError with every problem."""
    place = overlay_directory(name)
    values = read_values(place / "values" / "values.env")
    platform, endpoints = build(place), build(place / "serving")
    check(platform, endpoints, values, f"overlay {name}")
    return Count(2, len(platform) + len(endpoints))


def check(platform: list[Object], endpoints: list[Object], values: dict[str, str], what: str) -> None:
    """Check the objects of one namespace against each other and by themselves; SluiceError with every problem."""
    problems = [p for one in (*platform, *endpoints) for p in _alone(json.dumps(one, sort_keys=True))]
    problems += [p for one in endpoints for p in _mode(one, values["SLUICE_DEPLOYMENT_MODE"])]
    if not problems:
        names = Names([*platform, *endpoints], values["SLUICE_NAMESPACE"])
        problems = reference_errors([*platform, *endpoints], names)
        problems += [p for one in (*platform, *endpoints) for p in _settings(one, values)]
    if problems:
        raise SluiceError(f"{what}:\n  " + "\n  ".join(dict.fromkeys(problems)))


@functools.lru_cache(maxsize=4096)
def _alone(text: str) -> tuple[str, ...]:
    one = json.loads(text)
    # What has the wrong shape cannot be read any further.
    return tuple(schema_errors(one) or admission_errors(one) or [*webhook_errors(one), *policy_errors(one)])


def _mode(one: Object, mode: str) -> Iterator[str]:
    told = ((one.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION)
    if one.get("kind") in ("InferenceService", "InferenceGraph") and told != mode:
        yield f"{label(one)}: {ANNOTATION} is {told}, and SLUICE_DEPLOYMENT_MODE={mode}: see components/standard"


def _settings(one: Object, values: dict[str, str]) -> Iterator[str]:
    if label(one) == "ConfigMap sluice-settings" and set(one["data"]) != {*values, *CONSTANTS}:
        yield f"{label(one)}: its keys are not those of values.env: {sorted(set(one['data']) ^ {*values, *CONSTANTS})}"


def check_all() -> Count:
    """Check what is declared, overlays, sample, Argo CD and every combination; SluiceError at what fails first."""
    if stale := [str(path.relative_to(ROOT)) for path, _ in outdated(ROOT, declared(elsewhere=False))]:
        raise SluiceError(f"not as the systems declare: {', '.join(stale)}; run `python -m manifests.write`")
    count = Count()
    for name in sorted(p.parent.name for p in OVERLAYS.glob("*/kustomization.yaml")):
        one = check_overlay(name)
        count = Count(count.builds + one.builds, count.objects + one.objects)
    for checked in (check_argocd(), check_sample(), check_combinations(platforms(), servings())):
        count = Count(count.builds + checked.builds, count.objects + checked.objects)
    return count


def check_sample() -> Count:
    """Check the Standard canary, beside staging's platform whose values it has."""
    values = read_values(OVERLAYS / "staging" / "values" / "values.env")
    platform, sample = build(OVERLAYS / "staging"), build(MANIFESTS / "samples" / "standard-canary")
    check(platform, sample, {**values, "SLUICE_DEPLOYMENT_MODE": "Standard"}, "samples/standard-canary")
    return Count(1, len(sample))


def check_argocd() -> Count:
    """Check Argo CD's objects, and that each leads to an overlay and to its namespace."""
    found = [*build(MANIFESTS / "argocd"), *build(MANIFESTS / "argocd" / "apps")]
    problems = [p for one in found for p in _alone(json.dumps(one, sort_keys=True))]
    projects = {o["metadata"]["name"]: o for o in found if o["kind"] == "AppProject"}
    for app in () if problems else (o for o in found if o["kind"] == "Application"):
        problems += [f"{label(app)}: {p}" for p in _application(app["spec"], projects)]
    if problems:
        raise SluiceError("argocd:\n  " + "\n  ".join(problems))
    return Count(2, len(found))


def _application(spec: Object, projects: dict[str, Object]) -> Iterator[str]:
    path, namespace = MANIFESTS.parent / spec["source"]["path"], spec["destination"]["namespace"]
    if not (path / "kustomization.yaml").is_file():
        yield f"there is no kustomization in {spec['source']['path']}"
    elif path.parent == OVERLAYS:
        told = read_values(path / "values" / "values.env")["SLUICE_NAMESPACE"]
        if told != namespace:
            yield f"destination {namespace!r} is not SLUICE_NAMESPACE={told} of {spec['source']['path']}"
    project = projects.get(spec["project"])
    if project is None and spec["project"] != "default":
        yield f"there is no AppProject {spec['project']!r}"
    elif project and not any(fnmatch(namespace, d["namespace"]) for d in project["spec"]["destinations"]):
        yield f"the project {spec['project']!r} may not write to namespace {namespace!r}"


def platforms() -> list[tuple[str, ...]]:
    """No engine, each alone, all but one, all: the rest follows, since no engine changes another."""
    alone = [(engine,) for engine in ENGINES]
    but_one = [tuple(e for e in ENGINES if e != engine) for engine in ENGINES]
    return [(), *alone, *but_one, ENGINES]


def servings() -> list[tuple[str, ...]]:
    """Every storage in every mode with every extra."""
    return [(*s, *m, *e) for s, m, e in itertools.product(STORAGES, MODES, EXTRAS)]


def check_combinations(engines: list[tuple[str, ...]], endpoints: list[tuple[str, ...]]) -> Count:
    """Build and check staging with other components than its own; SluiceError that names the combination."""
    values = read_values(OVERLAYS / "staging" / "values" / "values.env")
    count = Count()
    whole = _combined(["platform", "monitoring"], ENGINES, values)
    for chosen in engines:
        told = {**values, **{k: theirs for name, (k, _, theirs) in _ELSEWHERE.items() if name not in chosen}}
        told |= {k: ours for name, (k, ours, _) in _ELSEWHERE.items() if name in chosen}
        found = _combined(["platform", "monitoring"], chosen, told)
        check(found, [], told, f"platform with {', '.join(chosen) or 'no engine'}")
        count = Count(count.builds + 1, count.objects + len(found))
    for chosen in endpoints:
        told = {**values, "SLUICE_DEPLOYMENT_MODE": "Standard" if "standard" in chosen else "Knative"}
        found = _combined(["base"], chosen, told)
        check(whole, found, told, f"endpoints with {', '.join(chosen) or 'no component'}")
        count = Count(count.builds + 1, count.objects + len(found))
    return count


def _combined(resources: list[str], components: tuple[str, ...], values: dict[str, str]) -> list[Object]:
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch).resolve()
        near = functools.partial(os.path.relpath, start=place)
        (place / "values.env").write_text("".join(f"{k}={v}\n" for k, v in values.items()))
        settings = {"name": "sluice-settings", "envs": ["values.env"]}
        labels = {"app.kubernetes.io/part-of": "sluice"}
        kustomization = {
            "resources": [near(MANIFESTS / r) for r in resources],
            "generatorOptions": {"disableNameSuffixHash": True, "labels": labels},
            "configMapGenerator": [settings],
            "components": [near(MANIFESTS / "components" / c) for c in (*components, "values")],
        }
        (place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return build(place)
