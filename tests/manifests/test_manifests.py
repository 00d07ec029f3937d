"""Every manifest against KServe's own CRDs, with unknown fields refused: a cluster would drop a typo silently."""

import copy
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from serving.laptop.validate import validate_inference_service, validate_serving_runtime

ROOT = Path(__file__).parents[2]
CRDS = ROOT.parent / "shared" / "crds"
BASES = sorted(p.parent for p in (ROOT / "manifests" / "base").glob("*/kustomization.yaml"))


def documents(base: Path) -> dict[str, dict]:
    names = yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    return {d["kind"]: d for n in names for d in yaml.safe_load_all((base / n).read_text())}


def strict(schema):
    """The CRD's schema with every object closed that lists its properties."""
    if isinstance(schema, list):
        return [strict(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    made = {k: strict(v) for k, v in schema.items() if k not in ("description", "default")}
    if isinstance(schema.get("properties"), dict):
        made["properties"] = {k: strict(v) for k, v in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


@pytest.fixture(scope="module")
def validators():
    found = {}
    for plural, kind in (("inferenceservices", "InferenceService"), ("servingruntimes", "ServingRuntime")):
        path = CRDS / f"serving.kserve.io_{plural}.yaml"
        if not path.exists():
            pytest.skip(f"KServe's CRDs are not at {CRDS}: the strict check of manifests needs them")
        crd = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        for version in crd["spec"]["versions"]:
            found[kind, version["name"]] = jsonschema.Draft7Validator(strict(version["schema"]["openAPIV3Schema"]))
    return found


def errors(validators, document) -> list[str]:
    validator = validators[document["kind"], document["apiVersion"].rpartition("/")[2]]
    return [f"{'.'.join(map(str, e.path))}: {e.message}" for e in validator.iter_errors(document)]


@pytest.mark.parametrize("base", BASES, ids=lambda p: p.name)
def test_manifests_fit_the_crds_of_kserve_to_the_letter(base, validators):
    assert [e for d in documents(base).values() for e in errors(validators, d)] == []


def test_the_strict_check_catches_a_typo_and_a_wrong_type(validators):
    service = documents(BASES[0])["InferenceService"]
    typo = copy.deepcopy(service)
    typo["spec"]["predictor"]["model"]["storageURI"] = "x"
    assert "storageURI" in errors(validators, typo)[0]
    wrong = copy.deepcopy(service)
    wrong["spec"]["predictor"]["minReplicas"] = "one"
    assert "minReplicas" in errors(validators, wrong)[0]


@pytest.mark.parametrize("base", BASES, ids=lambda p: p.name)
def test_the_laptop_takes_the_very_files_a_cluster_gets(base):
    found = documents(base)
    validate_inference_service(found["InferenceService"])
    validate_serving_runtime(found["ServingRuntime"])
    model = found["InferenceService"]["spec"]["predictor"]["model"]
    assert model["runtime"] == found["ServingRuntime"]["metadata"]["name"]
    assert model["modelFormat"]["name"] in [f["name"] for f in found["ServingRuntime"]["spec"]["supportedModelFormats"]]


@pytest.mark.parametrize("base", BASES, ids=lambda p: p.name)
def test_containers_are_pinned_probed_and_bounded(base):
    found = documents(base)
    assert found["InferenceService"]["spec"]["predictor"]["minReplicas"] >= 1
    for container in found["ServingRuntime"]["spec"]["containers"]:
        tag = container["image"].rpartition(":")[2]
        assert tag not in ("", "latest", container["image"])
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["path"] == "/v2/models/{{.Name}}/ready"
        assert set(container["resources"]) == {"requests", "limits"}
        assert len(container["ports"]) == 1  # Knative's limit


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed; it renders the kustomizations")
@pytest.mark.parametrize("base", BASES, ids=lambda p: p.name)
def test_kustomize_renders_them(base):
    rendered = subprocess.run(["kubectl", "kustomize", base], capture_output=True, text=True, check=True).stdout
    assert {d["kind"] for d in yaml.safe_load_all(rendered)} == {"ServingRuntime", "InferenceService"}
