"""What the project asks of every object beyond its schema: pinned, probed, bounded, unprivileged."""

import io
import json
import re
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any

from manifests.check.build import Object, label, quantity
from serving.contract.errors import SluiceError
from serving.contract.modes import ANNOTATION
from serving.core.options import Options

PART_OF = "app.kubernetes.io/part-of"
LONG_RUNNING = ("Deployment", "StatefulSet", "DaemonSet", "ServingRuntime")
_LABELS = {
    PART_OF: "sluice",
    "app.kubernetes.io/name": r"[a-z0-9-]+",
    "app.kubernetes.io/component": "engine",
    "pod-security.kubernetes.io/(enforce|warn|audit)": "restricted",
    "pod-security.kubernetes.io/enforce-version": r"v1\.\d+",
    "grafana_dashboard": "1",
}
_ANNOTATIONS = {
    ANNOTATION: "Knative|Standard",
    "serving.kserve.io/enable-tag-routing": "true",
    "serving.kserve.io/autoscalerClass": "hpa|keda",
    "prometheus.kserve.io/path": "/metrics",
    "prometheus.kserve.io/port": "8080",
    "argocd.argoproj.io/sync-wave": r"\d+",
}
_RESOURCES = {"cpu", "memory", "nvidia.com/gpu"}
_VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "secret", "projected", "downwardAPI"}
# Fields with a few values each that Kubernetes' published schemas leave open; the API server does not.
_WORDS: dict[str, set[str]] = {
    "whenUnsatisfiable": {"DoNotSchedule", "ScheduleAnyway"},
    "topologyKey": {"kubernetes.io/hostname", "topology.kubernetes.io/zone"},
    "accessModes": {"ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany"},
    "concurrencyPolicy": {"Allow", "Forbid", "Replace"},
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "protocol": {"TCP", "UDP"},
    "policyTypes": {"Ingress", "Egress"},
    "operator": {"In", "NotIn", "Exists", "DoesNotExist"},
    "effect": {"NoSchedule"},
    "apiGroup": {"rbac.authorization.k8s.io"},
    "fieldPath": {"metadata.name", "metadata.namespace"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
}
# What a Role may name at all. Everything but the rollout's objects is for reading, or what Argo and Trainer need.
_RULES = {
    ("serving.kserve.io", "inferenceservices"): {"get", "list", "create", "update", "delete"},
    ("serving.kserve.io", "servingruntimes"): {"get", "create"},
    ("serving.kserve.io", "inferencegraphs"): {"get", "list", "create", "update"},
    ("argoproj.io", "workflowtaskresults"): {"create", "patch"},
    ("", "configmaps"): {"get"},
    ("", "secrets"): {"get"},
    ("", "pods"): {"list"},
    ("", "pods/log"): {"get"},
    ("trainer.kubeflow.org", "trainjobs"): {"get", "create", "delete"},
    ("trainer.kubeflow.org", "trainingruntimes"): {"get"},
    ("trainer.kubeflow.org", "clustertrainingruntimes"): {"get"},
}


def policy_errors(found: Object) -> list[str]:
    """What an object does that none of ours may, as "Kind name: what"."""
    problems = [*_metadata(found), *_words(found, "")]
    if found["kind"] == "Secret":
        problems.append("a Secret in the manifests; name it in check/secrets.yaml and make it by hand")
    if found["kind"] in ("Role", "ClusterRole"):
        problems += _rules(found)
    for kind, further in (
        ("InferenceService", _model),
        ("InferenceGraph", _graph),
        ("NetworkPolicy", _peers),
        ("StatefulSet", _claims),
        ("PersistentVolumeClaim", _claims),
        ("ConfigMap", _dashboard),
    ):
        problems += further(found) if found["kind"] == kind else []
    pod = pod_of(found)
    if pod is not None:
        problems += _pod(found, pod)
    return [f"{label(found)}: {problem}" for problem in problems]


def pod_of(found: Object) -> dict[str, Any] | None:
    """The pod that an object makes, None for one that makes none."""
    spec = found.get("spec") or {}
    if found["kind"] == "CronJob":
        return spec["jobTemplate"]["spec"]["template"]["spec"]
    if found["kind"] == "ServingRuntime":
        return spec
    if found["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
        return spec["template"]["spec"]
    return None


def template_labels(found: Object) -> dict[str, str]:
    """The labels of the pods that an object makes; none for an object that makes none itself."""
    spec = found.get("spec") or {}
    template = spec["jobTemplate"]["spec"]["template"] if found["kind"] == "CronJob" else spec.get("template")
    return ((template or {}).get("metadata") or {}).get("labels") or {}


def _metadata(found: Object) -> Iterator[str]:
    labels = found["metadata"].get("labels") or {}
    if labels.get(PART_OF) != "sluice":
        yield f"no label {PART_OF}: sluice"
    annotations = {**(found["metadata"].get("annotations") or {})}
    if found["kind"] == "ServingRuntime":
        annotations |= found["spec"].get("annotations") or {}
    for what, known, given in (
        ("label", _LABELS, {**labels, **template_labels(found)}),
        ("annotation", _ANNOTATIONS, annotations),
    ):
        for key, value in given.items():
            pattern = next((v for k, v in known.items() if re.fullmatch(k, key)), None)
            if pattern is None:
                yield f"unknown {what} {key!r}"
            elif not re.fullmatch(pattern, str(value)):
                yield f"{what} {key}: {value!r}, expected {pattern}"


def _words(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, list):
        for number, item in enumerate(value):
            yield from _words(item, f"{path}.{number}")
    elif isinstance(value, dict):
        for key, item in value.items():
            given = item if isinstance(item, list) else [item]
            if key in _WORDS and (unknown := [g for g in given if isinstance(g, str) and g not in _WORDS[key]]):
                yield f"{path}.{key}: {unknown[0]!r} is none of {', '.join(sorted(_WORDS[key]))}".lstrip(".")
            if key in ("storage", "sizeLimit") and isinstance(item, str) and not (quantity(item) or 0) > 0:
                yield f"{path}.{key}: {item!r} is no quantity".lstrip(".")
            yield from _words(item, f"{path}.{key}")


def _rules(found: Object) -> Iterator[str]:
    for rule in found.get("rules") or []:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                excess = set(rule["verbs"]) - _RULES.get((group, resource), set())
                if excess:
                    yield f"may {', '.join(sorted(excess))} {resource} of {group or 'core'}, which nothing here needs"
                if resource in ("secrets", "configmaps") and not rule.get("resourceNames"):
                    yield f"reads every one of the {resource}; name them in resourceNames"


def _model(found: Object) -> Iterator[str]:
    model = found["spec"]["predictor"].get("model") or {}
    if model.get("resources"):
        yield from _bounds(model["resources"])
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            Options.parse(["--model-name=m", "--model-dir=/mnt/models", *(model.get("args") or [])])
    except SystemExit:
        yield f"spec.predictor.model.args: {told.getvalue().strip().rpartition('error: ')[2]}"
    except SluiceError as error:
        yield f"spec.predictor.model.args: {error}"


def _graph(found: Object) -> Iterator[str]:
    if "root" not in found["spec"]["nodes"]:
        yield "spec.nodes: KServe begins at the node `root`, and there is none"
    yield from _bounds(found["spec"].get("resources") or {})


def _peers(found: Object) -> Iterator[str]:
    rules = [*(found["spec"].get("ingress") or []), *(found["spec"].get("egress") or [])]
    for peer in (p for rule in rules for p in [*(rule.get("from") or []), *(rule.get("to") or [])]):
        chosen = peer.get("namespaceSelector") or {}
        keys = {*(chosen.get("matchLabels") or {}), *(e["key"] for e in chosen.get("matchExpressions") or [])}
        if keys - {"kubernetes.io/metadata.name"}:
            yield f"namespaceSelector by {sorted(keys)}: only kubernetes.io/metadata.name is on every namespace"


def _claims(found: Object) -> Iterator[str]:
    for claim in (
        [found] if found["kind"] == "PersistentVolumeClaim" else found["spec"].get("volumeClaimTemplates") or []
    ):
        if set((claim["spec"].get("resources") or {}).get("requests") or {}) != {"storage"}:
            yield "a claim's resources.requests must say storage, and that alone"


def _dashboard(found: Object) -> Iterator[str]:
    if "grafana_dashboard" in (found["metadata"].get("labels") or {}):
        for name, text in found["data"].items():
            try:
                json.loads(text if name.endswith(".json") else "")
            except ValueError:
                yield f"data.{name}: Grafana reads files that end in .json and are JSON"


def _pod(found: Object, pod: dict[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(field):
            yield f"{field} is a privilege"
    for volume in pod.get("volumes") or []:
        if kinds := set(volume) - {"name"} - _VOLUMES:
            yield f"volume {volume.get('name')}: {', '.join(kinds)} is not among what Pod Security restricted allows"
    for container in [*(pod.get("initContainers") or []), *pod["containers"]]:
        where = f"container {container['name']}"
        yield from (f"{where}: {problem}" for problem in _container(container, pod.get("securityContext") or {}))
        if found["kind"] in LONG_RUNNING and container in pod["containers"]:
            yield from (f"{where}: no {p}" for p in ("readinessProbe", "livenessProbe") if not container.get(p))


def _container(container: dict[str, Any], pod: dict[str, Any]) -> Iterator[str]:
    image = container.get("image", "")
    tag = image.rpartition("/")[2].partition("@")[2] or image.rpartition("/")[2].partition(":")[2]
    if not tag or tag == "latest":
        yield f"image {image!r} has no version"
    yield from _bounds(container.get("resources") or {})
    own = container.get("securityContext") or {}
    both = {**pod, **own}
    if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
        yield "securityContext.allowPrivilegeEscalation is not false"
    if (own.get("capabilities") or {}).get("drop") != ["ALL"] or own["capabilities"].get("add"):
        yield "securityContext.capabilities are not: drop [ALL]"
    if not own.get("readOnlyRootFilesystem"):
        yield "securityContext.readOnlyRootFilesystem is not true"
    if both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0:
        yield "securityContext.runAsNonRoot is not true"
    if (both.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield "securityContext.seccompProfile is not RuntimeDefault"


def _bounds(resources: dict[str, Any]) -> Iterator[str]:
    for kind in ("requests", "limits"):
        given = resources.get(kind) or {}
        if missing := {"cpu", "memory"} - set(given):
            yield f"resources.{kind}: no {', '.join(sorted(missing))}"
        if unknown := set(given) - _RESOURCES:
            yield f"resources.{kind}: unknown {', '.join(sorted(unknown))}"
    amounts = {(k, n): a for k in ("requests", "limits") for n, a in (resources.get(k) or {}).items()}
    numbers = {key: quantity(amount) for key, amount in amounts.items()}
    for (kind, name), number in numbers.items():
        if number is None or number < 0:
            yield f"resources.{kind}.{name}: {amounts[kind, name]!r} is no quantity"
    for name in resources.get("limits") or {}:
        low, high = numbers.get(("requests", name)), numbers.get(("limits", name))
        if low is not None and high is not None and low > high:
            yield f"resources: {name} asks for {amounts['requests', name]}, above its limit {amounts['limits', name]}"
