"""The files that the rollout reads, against KServe and the laptop: a cluster would drop a typo silently."""

import copy
import shutil
from pathlib import Path

import pytest

from components.rollout.graph import graphs_of, services_of
from components.rollout.manifests import BASE, documents
from load_tests.slo import read_slo
from manifests.check.build import build
from manifests.check.schema import CRDS, schema_errors
from manifests.write.files import ROOT, declared, outdated
from serving.contract.errors import SluiceError
from serving.laptop.graph.validate import validate_inference_graph
from serving.laptop.validate import validate_inference_service, validate_serving_runtime

PLACES = sorted(p.parent for p in BASE.glob("*/kustomization.yaml"))


def objects(place: Path) -> dict[str, dict]:
    return {document["kind"]: document for _, document in documents(place)}


needs_crds = pytest.mark.skipif(not CRDS.is_dir(), reason=f"KServe's CRDs are not at {CRDS}")
SYSTEMS = [place for place in PLACES if "InferenceService" in objects(place)]


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_manifests_fit_kserve_to_the_letter(place):
    assert [e for d in objects(place).values() for e in schema_errors(d)] == []


@pytest.mark.parametrize(
    "crds", [pytest.param(CRDS, marks=needs_crds), Path("nowhere")], ids=["crds and client", "client alone"]
)
def test_the_strict_check_catches_a_typo_and_a_wrong_type(crds):
    service = objects(SYSTEMS[0])["InferenceService"]
    typo = copy.deepcopy(service)
    typo["spec"]["predictor"]["model"]["storageURI"] = "x"
    assert "storageURI" in schema_errors(typo, crds)[0]
    wrong = copy.deepcopy(service)
    wrong["spec"]["predictor"]["minReplicas"] = "one"
    assert "minReplicas" in schema_errors(wrong, crds)[0]
    del wrong["kind"]
    assert "'kind'" in schema_errors(wrong, crds)[0]


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


@pytest.mark.parametrize("place", PLACES, ids=lambda p: p.name)
def test_kustomize_renders_what_the_rollout_reads(place):
    assert {d["kind"]: d for d in build(place)} == objects(place)


def test_what_is_in_git_is_what_the_systems_declare():
    assert [str(path.relative_to(ROOT)) for path, _ in outdated(ROOT, declared(elsewhere=False))] == []


def test_a_file_without_its_marks_and_a_folder_of_nobody_are_refused(tmp_path):
    shutil.copytree(BASE.parent, tmp_path / "manifests")
    keda = tmp_path / "manifests" / "components" / "keda" / "kustomization.yaml"
    keda.write_text(keda.read_text().replace("  # end of what is written\n", ""))
    with pytest.raises(SluiceError, match=r"keda/kustomization.yaml: expected queues, each once"):
        list(outdated(tmp_path, declared(elsewhere=False)))
    (tmp_path / "manifests" / "base" / "codebas").mkdir()
    with pytest.raises(SluiceError, match="no system declares codebas; remove the folder"):
        list(outdated(tmp_path, declared(elsewhere=False)))
