"""Every manifest against KServe's own CRDs, with unknown fields refused: a cluster would drop a typo silently."""

import copy
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

from components.rollout.graph import graphs_of, services_of
from components.rollout.manifests import BASE, documents
from load_tests.slo import read_slo
from serving.laptop.graph.validate import validate_inference_graph
from serving.laptop.validate import validate_inference_service, validate_serving_runtime

ROOT = Path(__file__).parents[2]
CRDS = ROOT.parent / "shared" / "crds"
PLACES = sorted(p.parent for p in BASE.glob("*/kustomization.yaml"))


def objects(place: Path) -> dict[str, dict]:
    return {document["kind"]: document for _, document in documents(place)}


SYSTEMS = [place for place in PLACES if "InferenceService" in objects(place)]


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


KINDS = {
    "inferenceservices": "InferenceService",
    "servingruntimes": "ServingRuntime",
    "inferencegraphs": "InferenceGraph",
}


@pytest.fixture(scope="module")
def validators():
    found = {}
    for plural, kind in KINDS.items():
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


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_manifests_fit_the_crds_of_kserve_to_the_letter(place, validators):
    assert [e for d in objects(place).values() for e in errors(validators, d)] == []


def test_the_strict_check_catches_a_typo_and_a_wrong_type(validators):
    service = objects(SYSTEMS[0])["InferenceService"]
    typo = copy.deepcopy(service)
    typo["spec"]["predictor"]["model"]["storageURI"] = "x"
    assert "storageURI" in errors(validators, typo)[0]
    wrong = copy.deepcopy(service)
    wrong["spec"]["predictor"]["minReplicas"] = "one"
    assert "minReplicas" in errors(validators, wrong)[0]


@pytest.mark.parametrize("place", SYSTEMS, ids=lambda p: p.name)
def test_the_laptop_takes_the_very_files_a_cluster_gets(place):
    found = objects(place)
    validate_inference_service(found["InferenceService"])
    validate_serving_runtime(found["ServingRuntime"])
    model = found["InferenceService"]["spec"]["predictor"]["model"]
    assert model["runtime"] == found["ServingRuntime"]["metadata"]["name"]
    assert model["modelFormat"]["name"] in [f["name"] for f in found["ServingRuntime"]["spec"]["supportedModelFormats"]]


@pytest.mark.parametrize("place", SYSTEMS, ids=lambda p: p.name)
def test_containers_are_pinned_probed_and_bounded(place):
    found = objects(place)
    assert found["InferenceService"]["spec"]["predictor"]["minReplicas"] >= 1
    for container in found["ServingRuntime"]["spec"]["containers"]:
        tag = container["image"].rpartition(":")[2]
        assert tag not in ("", "latest", container["image"])
        for probe in ("readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["path"] == "/v2/models/{{.Name}}/ready"
        assert set(container["resources"]) == {"requests", "limits"}
        assert len(container["ports"]) == 1  # Knative's limit


def test_graphs_name_services_that_have_manifests_and_a_load_test():
    (graph,) = graphs_of("lectures-transcriber")
    validate_inference_graph(graph)
    assert services_of(graph) == ["lectures-transcriber", "lectures-highlights"]
    for service in services_of(graph):
        assert objects(BASE / service)["InferenceService"]["metadata"]["name"] == service
        assert read_slo(service).slo.units_per_s > 0
    assert graphs_of("codebase") == []


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed; it renders the kustomizations")
@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_kustomize_renders_what_the_rollout_reads(place):
    rendered = subprocess.run(["kubectl", "kustomize", place], capture_output=True, text=True, check=True).stdout
    assert {d["kind"]: d for d in yaml.safe_load_all(rendered)} == objects(place)
