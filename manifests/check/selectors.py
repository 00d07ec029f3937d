"""Selectors: what they choose must be there."""

from collections.abc import Iterator, Mapping
from typing import Any

from manifests.check.build import Object
from manifests.check.policy import pod_of, template_labels
from pipelines.systems import systems

KSERVE_LABEL = "serving.kserve.io/inferenceservice"


def selector_errors(one: Object, objects: Mapping[tuple[str, str], Object]) -> Iterator[str]:
    """A selector of ``one`` that chooses no pod of ``objects`` and none that KServe makes, or not its own pods."""
    spec = one.get("spec") or {}
    match one["kind"]:
        case "Deployment" | "StatefulSet" | "DaemonSet":
            if not _chooses(spec["selector"], template_labels(one)):
                yield "spec.selector does not choose its own pods"
            for spread in (pod_of(one) or {}).get("topologySpreadConstraints") or []:
                if not _chooses(spread["labelSelector"], template_labels(one)):
                    yield "topologySpreadConstraints choose other pods than its own"
        case "InferenceService":
            own = {KSERVE_LABEL: one["metadata"]["name"]}
            for spread in spec["predictor"].get("topologySpreadConstraints") or []:
                if not _chooses(spread["labelSelector"], own):
                    yield "topologySpreadConstraints choose other pods than its own"
        case "Service":
            yield from _service(spec, objects)
        case "PodDisruptionBudget" | "PodMonitor":
            if not _chosen(spec["selector"], objects):
                yield "spec.selector chooses no pod"
            yield from _scraped(spec, objects)
        case "NetworkPolicy":
            if not _chosen(spec["podSelector"], objects) and not _is_optional(spec["podSelector"]):
                yield "spec.podSelector chooses no pod"


def _is_optional(selector: dict[str, Any]) -> bool:
    # Every engine may be somebody else's.
    return selector == {"matchLabels": {"app.kubernetes.io/component": "engine"}}


def _pods(objects: Mapping[tuple[str, str], Object]) -> Iterator[tuple[dict[str, str], dict[str, Any]]]:
    for one in objects.values():
        if labels := template_labels(one):
            yield labels, pod_of(one) or {}
    for endpoint in (one for system in systems().values() for one in system.endpoints):
        ports = [{"name": "http1"}, {"name": "user-port"}]
        yield {KSERVE_LABEL: endpoint.name}, {"containers": [{"ports": ports}]}


def _chosen(selector: dict[str, Any], objects: Mapping[tuple[str, str], Object]) -> list[dict[str, Any]]:
    return [pod for labels, pod in _pods(objects) if _chooses(selector, labels)]


def _chooses(selector: dict[str, Any], labels: Mapping[str, str]) -> bool:
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    for wanted in selector.get("matchExpressions") or []:
        there, values = labels.get(wanted["key"]), wanted.get("values") or []
        holds = {
            "Exists": there is not None,
            "DoesNotExist": there is None,
            "In": there in values,
            "NotIn": there not in values,
        }
        if not holds.get(wanted["operator"], False):
            return False
    return True


def _named_ports(pods: list[dict[str, Any]]) -> set[Any]:
    ports = [p for pod in pods for c in pod["containers"] for p in c.get("ports") or []]
    return {p.get("name") for p in ports} | {p.get("containerPort") for p in ports}


def _service(spec: dict[str, Any], objects: Mapping[tuple[str, str], Object]) -> Iterator[str]:
    pods = _chosen({"matchLabels": spec["selector"]}, objects)
    if not pods:
        yield "spec.selector chooses no pod"
    for port in spec["ports"]:
        if pods and port.get("targetPort", port["port"]) not in _named_ports(pods):
            yield f"targetPort {port.get('targetPort', port['port'])!r} is no port of the pods it chooses"


def _scraped(spec: dict[str, Any], objects: Mapping[tuple[str, str], Object]) -> Iterator[str]:
    pods = _chosen(spec["selector"], objects)
    for endpoint in spec.get("podMetricsEndpoints") or []:
        if pods and endpoint["port"] not in _named_ports(pods):
            yield f"port {endpoint['port']!r} is no port of the pods it chooses"
