"""What an API server refuses although Kubernetes' published schemas take it: its validation is code, not schema.

Source: pkg/apis/*/validation of kubernetes 1.36, as far as the kinds here go. What is found here keeps the checks that
follow from reading a field that is not there.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from manifests.check.build import Object, label

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_WORD = r"[A-Za-z0-9]([\w.-]{0,61}[A-Za-z0-9])?"
_PORTS = ("port", "containerPort", "targetPort", "hostPort", "nodePort")
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
# Their names become DNS labels; all others may hold dots, and those of RBAC anything that a path may.
_DNS_LABELS = ("Namespace", "Service", "InferenceService", "InferenceGraph")
_RBAC = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
_WITHOUT_SPEC = ("ServiceAccount", "ConfigMap", "Secret", "Namespace", *_RBAC)
_WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")
_HANDLERS = {"exec", "httpGet", "tcpSocket", "grpc"}
_VOLUME_OF_OUR_OWN = ("configMap", "secret", "persistentVolumeClaim")


def admission_errors(found: Object) -> list[str]:
    """What of an object the API server would answer with 422, as "Kind name: path: what"."""
    problems = list(_named(found))
    if not problems:
        problems = [*_of_kind(found), *_labels(found), *_everywhere(found, "")]
        for path, pod in _pods(found):
            problems += [f"{path}.{problem}" for problem in _pod(pod)]
    return [f"{label(found)}: {problem}" for problem in problems]


def _named(found: Object) -> Iterator[str]:
    name = (found.get("metadata") or {}).get("name")
    kind = found.get("kind")
    if not name:
        yield "metadata.name: Required value"
    elif kind not in _RBAC and not re.fullmatch(_LABEL if kind in _DNS_LABELS else _SUBDOMAIN, str(name)):
        yield f"metadata.name: {name!r} is no name: lower-case letters, digits and hyphens, at most 63"
    if kind not in _WITHOUT_SPEC and not isinstance(found.get("spec"), dict):
        yield "spec: Required value"


def _labels(found: Object) -> Iterator[str]:
    for key, value in (found["metadata"].get("labels") or {}).items():
        if not re.fullmatch(rf"({_SUBDOMAIN}/)?{_WORD}", key) or not re.fullmatch(rf"({_WORD})?", str(value)):
            yield f"metadata.labels: {key}: {value} is no label: letters, digits, -, _ and dots, at most 63 of a part"


def _everywhere(value: Any, path: str) -> Iterator[str]:
    """Ports and expressions of selectors, wherever they are."""
    if isinstance(value, list):
        for at, item in enumerate(value):
            yield from _everywhere(item, f"{path}[{at}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            place = f"{path}.{key}".lstrip(".")
            if key in _PORTS and not _is_port(item):
                yield f"{place}: {item!r} is no port: a number from 1 to 65535, or a name of at most 15 letters"
            if key == "matchExpressions":
                for at, one in enumerate(item or []):
                    if bool(one.get("values")) != (one.get("operator") in ("In", "NotIn")):
                        yield f"{place}[{at}].values: In and NotIn want some, Exists and DoesNotExist none"
            yield from _everywhere(item, place)


def _is_port(given: Any) -> bool:
    if isinstance(given, str):
        return bool(re.fullmatch(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?", given))
    return not isinstance(given, int) or 1 <= given <= 65535


def _required(value: dict[str, Any], path: str, *keys: str) -> Iterator[str]:
    for key in keys:
        if not value.get(key):
            yield f"{path}{key}: Required value"


def _of_kind(found: Object) -> Iterator[str]:
    spec = found.get("spec") or {}
    match found["kind"]:
        case "Role" | "ClusterRole":
            yield from _required(found, "", "rules")
            for at, rule in enumerate(found.get("rules") or []):
                yield from _required(rule, f"rules[{at}].", "apiGroups", "resources", "verbs")
        case "RoleBinding" | "ClusterRoleBinding":
            yield from _binding(found)
        case "ServiceAccount":
            for at, secret in enumerate(found.get("secrets") or []):
                yield from _required(secret, f"secrets[{at}].", "name")
        case "Service":
            yield from _required(spec, "spec.", "ports", "selector")
            if len(spec.get("ports") or []) > 1:
                for at, port in enumerate(spec["ports"]):
                    yield from _required(port, f"spec.ports[{at}].", "name")
        case "PersistentVolumeClaim":
            yield from _claim(spec, "spec.")
        case "PodDisruptionBudget":
            yield from _required(spec, "spec.", "selector")
            if len({"minAvailable", "maxUnavailable"} & set(spec)) != 1:
                yield "spec: one of minAvailable and maxUnavailable, and one only"
        case "NetworkPolicy":
            if "podSelector" not in spec:
                yield "spec.podSelector: Required value"
        case "Deployment" | "StatefulSet" | "DaemonSet":
            yield from _workload(found["kind"], spec)
        case "CronJob":
            yield from _cron_job(spec)
        case "ServingRuntime":
            yield from _required(spec, "spec.", "supportedModelFormats", "protocolVersions", "containers")


def _binding(found: Object) -> Iterator[str]:
    kind, role = found["kind"], found.get("roleRef") or {}
    if role.get("apiGroup") != "rbac.authorization.k8s.io":
        yield f"roleRef.apiGroup: {role.get('apiGroup')!r}, expected rbac.authorization.k8s.io"
    allowed = ("ClusterRole",) if kind == "ClusterRoleBinding" else ("Role", "ClusterRole")
    if role.get("kind") not in allowed:
        yield f"roleRef.kind: {role.get('kind')!r}, expected {' or '.join(allowed)}"
    yield from _required(role, "roleRef.", "name")
    if not found.get("subjects"):
        yield "subjects: it binds its role to nobody"
    for at, subject in enumerate(found.get("subjects") or []):
        yield from _required(subject, f"subjects[{at}].", "name")
        group = subject.get("apiGroup") or ""
        if subject.get("kind") == "ServiceAccount":
            yield from _required(subject, f"subjects[{at}].", "namespace")
            expected = ""
        elif subject.get("kind") in ("User", "Group"):
            expected = "rbac.authorization.k8s.io"
            if subject.get("namespace"):
                yield f"subjects[{at}].namespace: a {subject['kind']} has none"
        else:
            yield f"subjects[{at}].kind: {subject.get('kind')!r}, expected ServiceAccount, User or Group"
            continue
        if group not in (expected, ""):
            yield f"subjects[{at}].apiGroup: {group!r}, expected {expected!r}"


def _workload(kind: str, spec: dict[str, Any]) -> Iterator[str]:
    selector = spec.get("selector") or {}
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield "spec.selector: an empty selector is invalid"
    if kind == "StatefulSet":
        yield from _required(spec, "spec.", "serviceName")
        for at, claim in enumerate(spec.get("volumeClaimTemplates") or []):
            yield from _required(claim.get("metadata") or {}, f"spec.volumeClaimTemplates[{at}].metadata.", "name")
            yield from _claim(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{at}].spec.")
    yield from _restart((spec.get("template") or {}).get("spec") or {}, "spec.template.spec", ("Always",))


def _cron_job(spec: dict[str, Any]) -> Iterator[str]:
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    pod = (job.get("template") or {}).get("spec") or {}
    if pod.get("restartPolicy") is None:
        yield "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: OnFailure or Never"
    yield from _restart(pod, "spec.jobTemplate.spec.template.spec", ("OnFailure", "Never"))


def _restart(pod: dict[str, Any], path: str, allowed: tuple[str, ...]) -> Iterator[str]:
    if pod.get("restartPolicy", allowed[0]) not in allowed:
        yield f"{path}.restartPolicy: {pod['restartPolicy']!r}, expected {' or '.join(allowed)}"


def _claim(spec: dict[str, Any], path: str) -> Iterator[str]:
    yield from _required(spec, path, "accessModes", "resources")


def _pods(found: Object) -> Iterator[tuple[str, dict[str, Any]]]:
    spec = found.get("spec") or {}
    if found["kind"] == "CronJob":
        job = (spec.get("jobTemplate") or {}).get("spec") or {}
        yield "spec.jobTemplate.spec.template.spec", (job.get("template") or {}).get("spec") or {}
    elif found["kind"] in (*_WORKLOADS, "Job"):
        yield "spec.template.spec", (spec.get("template") or {}).get("spec") or {}
    elif found["kind"] == "ServingRuntime":
        yield "spec", spec


def _pod(pod: dict[str, Any]) -> Iterator[str]:
    containers = pod.get("containers") or []
    if not containers:
        yield "containers: Required value"
    yield from _twice([v.get("name") for v in pod.get("volumes") or []], "volumes", "name")
    for at, volume in enumerate(pod.get("volumes") or []):
        sources = set(volume) - {"name"}
        if len(sources) != 1:
            yield f"volumes[{at}]: {volume.get('name')!r} must have one source, and has {len(sources)}"
        for source in sources & {*_VOLUME_OF_OUR_OWN}:
            key = {"configMap": "name", "secret": "secretName"}.get(source, "claimName")
            yield from _required(volume[source] or {}, f"volumes[{at}].{source}.", key)
    for at, spread in enumerate(pod.get("topologySpreadConstraints") or []):
        yield from _required(spread, f"topologySpreadConstraints[{at}].", "labelSelector")
    for which in ("initContainers", "containers"):
        for at, container in enumerate(pod.get(which) or []):
            yield from (f"{which}[{at}].{problem}" for problem in _container(container))


def _container(container: dict[str, Any]) -> Iterator[str]:
    yield from _required(container, "", "name", "image")
    for at, variable in enumerate(container.get("env") or []):
        yield from (f"env[{at}].{problem}" for problem in _variable(variable))
    for at, source in enumerate(container.get("envFrom") or []):
        chosen = {"configMapRef", "secretRef"} & set(source)
        if len(chosen) != 1:
            yield f"envFrom[{at}]: one of configMapRef and secretRef, and one only"
        for one in chosen:
            yield from _required(source[one] or {}, f"envFrom[{at}].{one}.", "name")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        yield from (f"{probe}{problem}" for problem in _probe(container.get(probe), probe))
    yield from _twice([m.get("mountPath") for m in container.get("volumeMounts") or []], "volumeMounts", "mountPath")
    yield from _twice([p["name"] for p in container.get("ports") or [] if p.get("name")], "ports", "name")


def _variable(variable: dict[str, Any]) -> Iterator[str]:
    source = variable.get("valueFrom")
    if source is None:
        if "value" not in variable:
            yield f"value: {variable.get('name')} is set to nothing; give it a value, or valueFrom"
        return
    if variable.get("value"):
        yield "valueFrom: may not be there beside value"
    if len(source) != 1:
        yield f"valueFrom: must have one source, and has {len(source)}"
    for one in {"secretKeyRef", "configMapKeyRef"} & set(source):
        yield from _required(source[one] or {}, f"valueFrom.{one}.", "name", "key")


def _probe(probe: dict[str, Any] | None, name: str) -> Iterator[str]:
    if probe is None:
        return
    handlers = _HANDLERS & set(probe)
    if len(handlers) != 1:
        yield f": must have one of {', '.join(sorted(_HANDLERS))}, and has {len(handlers)}"
    if "exec" in probe:
        yield from _required(probe["exec"] or {}, ".exec.", "command")
    if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        yield ".successThreshold: must be 1"


def _twice(given: list[Any], path: str, key: str) -> Iterator[str]:
    for value in (v for v, count in Counter(given).items() if count > 1):
        yield f"{path}: two with the {key} {value!r}"
