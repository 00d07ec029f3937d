"""What an API server and KServe's webhook refuse beyond the published schemas is found before anything is applied."""

import ast
import copy
import inspect
from pathlib import Path
from typing import Any

import pytest

from components.rollout import cluster
from manifests.check.admission import admission_errors
from manifests.check.build import MANIFESTS, OVERLAYS, build, quantity
from manifests.check.combinations import ENGINES, _combined, check
from manifests.check.values import read_values
from manifests.check.webhook import webhook_errors
from pipelines import client
from serving.contract.errors import SluiceError

PLACE = {"namespace": "n"}


@pytest.fixture(scope="module")
def values() -> dict[str, str]:
    return read_values(OVERLAYS / "staging" / "values" / "values.env")


@pytest.fixture(scope="module")
def whole(values) -> list[dict]:
    return _combined(["platform", "monitoring"], ENGINES, values)


def of_kind(found: list[dict], kind: str) -> list[dict]:
    return [one for one in found if one["kind"] == kind]


def test_every_account_that_is_bound_has_its_namespace(whole, values):
    bound = [*of_kind(whole, "RoleBinding"), *of_kind(whole, "ClusterRoleBinding")]
    assert len(bound) >= 4
    for one in bound:
        assert {s["namespace"] for s in one["subjects"]} == {values["SLUICE_NAMESPACE"]}
    (cluster_wide,) = of_kind(whole, "ClusterRoleBinding")
    assert cluster_wide["metadata"]["name"] == f"sluice-trainingruntimes.{values['SLUICE_NAMESPACE']}"
    assert "namespace" not in cluster_wide["metadata"]


@pytest.mark.parametrize("kind", ["RoleBinding", "ClusterRoleBinding"])
def test_an_account_without_a_namespace_fails_the_check(kind, whole, values):
    changed = copy.deepcopy(whole)
    del of_kind(changed, kind)[0]["subjects"][0]["namespace"]
    with pytest.raises(SluiceError, match=rf"{kind} [a-z.-]+: subjects\[0\]\.namespace: Required value"):
        check(changed, [], values, "platform")


BINDINGS = {
    "subjects[0].kind: 'Robot'": {"subjects": [{"kind": "Robot", "name": "a"}]},
    "subjects[0].name: Required": {"subjects": [{"kind": "ServiceAccount", "namespace": "n"}]},
    "subjects[0].apiGroup: 'rbac": {
        "subjects": [{"kind": "ServiceAccount", "name": "a", **PLACE, "apiGroup": "rbac.authorization.k8s.io"}]
    },
    "subjects[0].namespace: a Group": {"subjects": [{"kind": "Group", "name": "a", **PLACE}]},
    "it binds its role to nobody": {"subjects": []},
    "roleRef.apiGroup: None": {"roleRef": {"kind": "Role", "name": "r"}},
    "roleRef.kind: 'Rule'": {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Rule", "name": "r"}},
}


@pytest.mark.parametrize("told", BINDINGS)
def test_a_binding_is_held_to_the_servers_rules(told):
    whole = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "b", **PLACE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "a", **PLACE}],
    }
    assert admission_errors(whole) == []
    assert any(told in problem for problem in admission_errors({**whole, **BINDINGS[told]}))


def taken_away(one: dict, path: str) -> dict:
    made = copy.deepcopy(one)
    holder: Any = made
    *before, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in before:
        holder = holder[key]
    del holder[last]
    return made


# Fields that the published schemas leave optional, and the API server's validation does not.
REQUIRED = {
    "Service": ["metadata.name", "spec", "spec.ports"],
    "ServiceAccount": ["metadata", "secrets.0.name"],
    "Role": ["rules", "rules.0.apiGroups", "rules.0.resources", "rules.0.verbs"],
    "StatefulSet": [
        "spec.selector.matchLabels",
        "spec.volumeClaimTemplates.0.metadata.name",
        "spec.volumeClaimTemplates.0.spec.accessModes",
        "spec.template.spec.containers.0.env.0.valueFrom.secretKeyRef",
        "spec.template.spec.containers.0.env.0.valueFrom.secretKeyRef.name",
        "spec.template.spec.containers.0.readinessProbe.exec",
        "spec.template.spec.containers.0.readinessProbe.exec.command",
    ],
    "Deployment": ["spec.template.spec", "spec.template.spec.volumes.0.emptyDir"],
    "CronJob": ["spec.jobTemplate.spec.template.spec.restartPolicy"],
    "PersistentVolumeClaim": ["spec.accessModes"],
    "PodDisruptionBudget": ["spec.selector", "spec.maxUnavailable"],
    "NetworkPolicy": ["spec.podSelector"],
}


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in REQUIRED.items() for path in paths])
def test_a_required_field_that_is_missing_is_told(kind, path, whole):
    name = {"ServiceAccount": "sluice-serving", "StatefulSet": "redis"}.get(kind)
    one = next(o for o in of_kind(whole, kind) if name in (None, o["metadata"]["name"]))
    assert admission_errors(one) == []
    (problem, *_) = admission_errors(taken_away(one, path))
    assert problem.startswith(f"{kind} ")


WRONG: dict[str, tuple[str, str, Any]] = {
    "spec.ports[0].port: 0 is no port": ("Service", "spec.ports.0.port", 0),
    "spec.ports[0].targetPort: '8080' is no port": ("Service", "spec.ports.0.targetPort", "8080"),
    "containerPort: 65536 is no port": ("Deployment", "spec.template.spec.containers.0.ports.0.containerPort", 65536),
    "two with the mountPath": (
        "Deployment",
        "spec.template.spec.containers.0.volumeMounts",
        [{"name": "a", "mountPath": "/tmp"}, {"name": "b", "mountPath": "/tmp"}],
    ),
    "has 2": ("Deployment", "spec.template.spec.volumes.0", {"name": "a", "emptyDir": {}, "configMap": {"name": "c"}}),
    "restartPolicy: 'Always', expected OnFailure": (
        "CronJob",
        "spec.jobTemplate.spec.template.spec.restartPolicy",
        "Always",
    ),
    "is no label": ("Role", "metadata.labels", {"app.kubernetes.io/part-of": "a b"}),
    "is no name": ("Service", "metadata.name", "mlflow.tracking"),
    "and one only": ("PodDisruptionBudget", "spec.minAvailable", 1),
    "In and NotIn want some": (
        "NetworkPolicy",
        "spec.podSelector",
        {"matchExpressions": [{"key": "a", "operator": "In", "values": []}]},
    ),
    "valueFrom: may not be there beside value": (
        "Deployment",
        "spec.template.spec.containers.0.env.0",
        {"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ),
}


@pytest.mark.parametrize("told", WRONG)
def test_a_value_that_the_server_refuses_is_told(told, whole):
    kind, path, value = WRONG[told]
    one = next(o for o in of_kind(whole, kind) if kind != "Deployment" or o["metadata"]["name"] == "mlflow")
    *before, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    changed = copy.deepcopy(one)
    holder: Any = changed
    for key in before:
        holder = holder[key]
    holder[last] = value
    assert admission_errors(one) == []
    assert any(told in problem for problem in admission_errors(changed))


@pytest.mark.parametrize("text", ["500m", "2", "0.5", "4Gi", "1e3", "1E", "+1", "1.5Gi", "100k"])
def test_a_quantity_of_kubernetes_is_one(text):
    assert quantity(text) is not None


@pytest.mark.parametrize(
    "text", ["1_0", "Infinity", "NaN", " 1", "1 ", "1Gi\n", "0x10", "\u0661", "1gb", "", "1KI", True]
)
def test_what_python_alone_reads_as_a_number_is_no_quantity(text):
    assert quantity(text) is None


def keda(values: dict[str, str]) -> dict:
    found = _combined(["base"], ("standard", "keda"), {**values, "SLUICE_DEPLOYMENT_MODE": "Standard"})
    return next(o for o in found if (o["kind"], o["metadata"]["name"]) == ("InferenceService", "codebase"))


def test_keda_gets_the_target_that_kserve_asks_for(values):
    service = keda(values)
    assert webhook_errors(service) == []
    (metric,) = service["spec"]["predictor"]["autoScaling"]["metrics"]
    assert metric["external"]["target"] == {"type": "Value", "value": "4"}


METRICS = {
    "target threshold value should not be empty": {"target": {"type": "AverageValue", "averageValue": "4"}},
    "target.type 'Sum' is none of": {"target": {"type": "Sum", "value": "4"}},
    "target.type Value needs value": {"target": {"type": "Value"}},
    "is no quantity above 0": {"target": {"type": "Value", "value": "four"}},
    "the query should not be empty": {"metric": {"backend": "prometheus", "query": ""}},
}


@pytest.mark.parametrize("told", METRICS)
def test_a_metric_that_kserve_refuses_is_told(told, values):
    service = keda(values)
    service["spec"]["predictor"]["autoScaling"]["metrics"][0]["external"] |= METRICS[told]
    assert any(told in problem for problem in webhook_errors(service))


@pytest.mark.parametrize(
    ("resource", "told"),
    [
        ({"name": "cpu", "target": {"type": "Value", "value": "4"}}, "must be of type Utilization"),
        ({"name": "gpu", "target": {"type": "Utilization", "averageUtilization": 50}}, "is neither cpu nor memory"),
        ({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 500}}, "no percentage from 1 to 100"),
        ({"name": "cpu", "target": {"type": "Utilization"}}, "needs averageUtilization"),
        ({"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Ki"}}, "at least 1Mi"),
        ({"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}, ""),
    ],
)
def test_a_target_of_a_resource_is_held_to_kserves_rules(resource, told, values):
    service = keda(values)
    service["spec"]["predictor"]["autoScaling"]["metrics"] = [{"type": "Resource", "resource": resource}]
    assert told in " ".join(webhook_errors(service))
    assert bool(told) == bool(webhook_errors(service))


def canary(**predictor: Any) -> dict:
    (made,) = (o for o in build(MANIFESTS / "samples" / "standard-canary") if o["kind"] == "InferenceService")
    made["spec"]["canary"][0]["predictor"] |= predictor
    return made


CANARIES: dict[str, dict] = {
    "KServe refuses a name there": {"model": {"name": "codebase", "modelFormat": {"name": "sluice"}}},
    "minReplicas 3 is above stable's, which is 2": {"minReplicas": 3},
    "maxReplicas: a canary has a fixed number": {"maxReplicas": 2},
    "scaleMetric: a canary has a fixed number": {"scaleMetric": "cpu"},
    "must differ": {"name": "v1"},
    "no model": {"model": None},
    "env PYTHONPATH": {"model": {"name": "", "modelFormat": {"name": "s"}, "env": [{"name": "PYTHONPATH"}]}},
}


@pytest.mark.parametrize("told", CANARIES)
def test_a_canary_that_kserve_refuses_is_told(told):
    assert webhook_errors(canary()) == []
    assert any(told in problem for problem in webhook_errors(canary(**CANARIES[told])))


STABLE: dict[str, dict] = {
    "minReplicas 0: a rollback": {"minReplicas": 0},
    "minReplicas -1 is below 0": {"minReplicas": -1},
    "minReplicas is above maxReplicas": {"minReplicas": 9, "maxReplicas": 2},
    "an HPA knows cpu and memory": {"scaleMetric": "concurrency"},
    "is no percentage from 1 to 100": {"scaleTarget": 700},
    "takes type Resource": {"autoScaling": {"metrics": [{"type": "External", "external": {}}]}},
}


@pytest.mark.parametrize("told", STABLE)
def test_a_stable_predictor_that_kserve_refuses_or_a_rollback_cannot_use_is_told(told):
    service = canary()
    service["spec"]["predictor"] |= STABLE[told]
    assert any(told in problem for problem in webhook_errors(service))


def called(module: Any) -> set[tuple[str, str]]:
    """Verb and plural of every call of the Kubernetes API in a module."""
    found = set()
    for node in ast.walk(ast.parse(Path(inspect.getfile(module)).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_call":
            verb, kind = node.args[0], node.args[1]
            assert isinstance(verb, ast.Constant)
            assert isinstance(kind, ast.Name)
            found.add((verb.value, getattr(module, kind.id)[1]))
        elif isinstance(node, ast.Attribute) and node.attr.endswith("_namespaced_custom_object"):
            found |= {(node.attr.partition("_")[0], plural) for plural in client._KINDS}
    return found


def test_the_role_allows_what_our_clients_call_and_no_more(whole):
    (role,) = (o for o in of_kind(whole, "Role") if o["metadata"]["name"] == "sluice-rollout")
    allowed = {(verb, resource) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    # What the client calls replace is RBAC's update.
    assert allowed == {("update" if v == "replace" else v, p) for v, p in called(cluster) | called(client)}


@pytest.fixture(scope="module")
def standard(values) -> list[dict]:
    return _combined(["base"], ("storage-s3", "standard"), values | STANDARD_MODE)


STANDARD_MODE = {"SLUICE_DEPLOYMENT_MODE": "Standard"}
ROUTE = "http://lectures-{0}-sluice-staging.staging.example.com/v1/models/lectures-{0}:predict"


def test_a_graph_in_standard_mode_goes_through_the_gateway(standard, whole, values):
    (graph,) = of_kind(standard, "InferenceGraph")
    steps = graph["spec"]["nodes"]["root"]["steps"]
    assert [step["serviceUrl"] for step in steps] == [ROUTE.format(name) for name in ("transcriber", "highlights")]
    assert not any("serviceName" in step for step in steps)
    check(whole, standard, values | STANDARD_MODE, "standard")


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ({"serviceName": "lectures-transcriber"}, "'lectures-transcriber': in Standard mode that is stable's own"),
        ({"serviceUrl": "http://lectures-transcriber-predictor.sluice-staging.svc/predict"}, "no endpoint's route"),
        ({"serviceUrl": ROUTE.format("transcriber").replace("-sluice-staging", "-other")}, "no endpoint's route"),
        ({"serviceUrl": ROUTE.format("nobody")}, "no endpoint's route at the gateway, as http"),
        ({"serviceUrl": ROUTE.format("transcriber").removesuffix(":predict")}, "no endpoint's route"),
    ],
)  # fmt: skip
def test_a_step_that_leaves_the_split_or_leads_nowhere_fails_the_check(target, problem, standard, whole, values):
    changed = copy.deepcopy(standard)
    step = of_kind(changed, "InferenceGraph")[0]["spec"]["nodes"]["root"]["steps"][0]
    del step["serviceUrl"]
    step |= target
    with pytest.raises(SluiceError, match=problem):
        check(whole, changed, values | STANDARD_MODE, "standard")


def test_the_routers_of_graphs_get_the_profile_that_restricted_asks_for(whole):
    (policy,) = of_kind(whole, "MutatingAdmissionPolicy")
    (binding,) = of_kind(whole, "MutatingAdmissionPolicyBinding")
    (namespace,) = of_kind(whole, "Namespace")
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    chosen = policy["spec"]["matchConstraints"]
    assert chosen["namespaceSelector"]["matchLabels"].items() <= namespace["metadata"]["labels"].items()
    assert chosen["objectSelector"]["matchExpressions"][0]["key"] == "serving.kserve.io/inferencegraph"
    assert (
        'seccompProfile{type: "RuntimeDefault"}' in policy["spec"]["mutations"][0]["applyConfiguration"]["expression"]
    )
    assert not any("namespace" in one["metadata"] for one in (policy, binding))
