"""Every name that one object has for another: it must be there, with the key or the port that is asked for."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from manifests.check.build import Object, label
from manifests.check.policy import pod_of
from manifests.check.selectors import selector_errors
from serving.contract.modes import ANNOTATION, STANDARD

SECRETS: dict[str, dict[str, str]] = yaml.safe_load((Path(__file__).parent / "secrets.yaml").read_text())
_URL = re.compile(r"https?://([a-z0-9][a-z0-9.-]*)(?::(\d+))?")
# What belongs to no namespace.
_CLUSTER_SCOPED = re.compile(r"Namespace|Cluster(Role|RoleBinding)|.*AdmissionPolicy(Binding)?")


class Names:
    """What there is in one namespace, by kind and name; ``found`` are the objects of all builds that share it."""

    def __init__(self, found: list[Object], namespace: str) -> None:
        self.namespace = namespace
        self.objects = {(o["kind"], o["metadata"]["name"]): o for o in found}

    def get(self, kind: str, name: str) -> Object | None:
        """The object of that kind and name."""
        return self.objects.get((kind, name))

    def missing(self, kind: str, name: str) -> Iterator[str]:
        """One problem when there is no such object."""
        if (kind, name) not in self.objects:
            yield f"there is no {kind} {name!r}"

    def without_key(self, name: str, key: str) -> Iterator[str]:
        """One problem when the ConfigMap of that name lacks the key."""
        found = self.get("ConfigMap", name)
        if found is not None and key not in (found.get("data") or {}):
            yield f"ConfigMap {name!r} has no key {key!r}"

    def services(self) -> dict[str, set[int]]:
        """Services by name with their ports; those that KServe makes listen on 80."""
        made = {n: {p["port"] for p in o["spec"]["ports"]} for (k, n), o in self.objects.items() if k == "Service"}
        for (kind, name), one in self.objects.items():
            if kind == "InferenceService":
                predictors = [one["spec"]["predictor"], *(c["predictor"] for c in one["spec"].get("canary") or [])]
                variants = [p.get("name", "") for p in predictors]
                made |= {"-".join(filter(None, [name, v, "predictor"])): {80} for v in variants} | {name: {80}}
        return made


def reference_errors(found: list[Object], names: Names) -> list[str]:
    """Names in ``found`` that lead nowhere, as "Kind name: what"."""
    problems: list[str] = []
    for one in found:
        told = [*_placed(one, names), *_of_pod(one, names), *_of_kind(one, names), *_urls(one, names)]
        problems += [f"{label(one)}: {problem}" for problem in [*told, *selector_errors(one, names.objects)]]
    return problems


def _placed(one: Object, names: Names) -> Iterator[str]:
    namespace = one["metadata"].get("namespace")
    if one["kind"] == "Namespace" and one["metadata"]["name"] != names.namespace:
        yield f"is not SLUICE_NAMESPACE={names.namespace}"
    if _CLUSTER_SCOPED.fullmatch(one["kind"]):
        if namespace is not None:
            yield f"is in namespace {namespace!r}, and a {one['kind']} belongs to none"
    elif namespace != names.namespace:
        yield f"is in namespace {namespace!r}, not in SLUICE_NAMESPACE={names.namespace}"


def _of_pod(one: Object, names: Names) -> Iterator[str]:
    pod = pod_of(one)
    if pod is None:
        return
    if account := pod.get("serviceAccountName"):
        yield from names.missing("ServiceAccount", account)
    account_of = names.get("ServiceAccount", account or "") or {}
    token = pod.get("automountServiceAccountToken", account_of.get("automountServiceAccountToken"))
    if token is not False and one["kind"] != "ServingRuntime":
        yield "its pods get a token of the API server that they do not need: automountServiceAccountToken is not false"
    volumes = {v["name"]: v for v in pod.get("volumes") or []}
    claims = {c["metadata"]["name"] for c in (one["spec"].get("volumeClaimTemplates") or [])}
    for volume in volumes.values():
        if "configMap" in volume:
            yield from names.missing("ConfigMap", volume["configMap"].get("name", ""))
            for item in volume["configMap"].get("items") or []:
                yield from names.without_key(volume["configMap"]["name"], item["key"])
        if "persistentVolumeClaim" in volume:
            yield from names.missing("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
        if "secret" in volume and volume["secret"].get("secretName") not in SECRETS:
            yield f"Secret {volume['secret'].get('secretName')!r} is not in check/secrets.yaml"
    for container in [*(pod.get("initContainers") or []), *pod["containers"]]:
        for mount in container.get("volumeMounts") or []:
            if mount["name"] not in {*volumes, *claims}:
                yield f"volumeMount {mount['name']!r} is none of its volumes"
        yield from _environment(container, names)
        yield from _ports(container)


def _environment(container: dict[str, Any], names: Names) -> Iterator[str]:
    for source in container.get("envFrom") or []:
        if "configMapRef" in source:
            yield from names.missing("ConfigMap", source["configMapRef"].get("name", ""))
        if "secretRef" in source and source["secretRef"].get("name") not in SECRETS:
            yield f"Secret {source['secretRef'].get('name')!r} is not in check/secrets.yaml"
    told: set[str] = set()
    for variable in container.get("env") or []:
        source = variable.get("valueFrom") or {}
        if "secretKeyRef" in source:
            yield from secret_errors(source["secretKeyRef"])
        if "configMapKeyRef" in source:
            name, key = source["configMapKeyRef"]["name"], source["configMapKeyRef"]["key"]
            yield from names.missing("ConfigMap", name)
            yield from names.without_key(name, key)
        for used in re.findall(r"\$\((\w+)\)", variable.get("value") or ""):
            if used not in told:
                yield f"env {variable['name']} uses $({used}), which no variable before it sets"
        told.add(variable["name"])
    yield from _shown(container)


def _shown(container: dict[str, Any]) -> Iterator[str]:
    """Secrets that would stand on a command line, where everybody on the node reads them."""
    secret = [v["name"] for v in container.get("env") or [] if "secretKeyRef" in (v.get("valueFrom") or {})]
    words = " ".join([*(container.get("command") or []), *(container.get("args") or [])])
    for name in secret:
        # Filled in by the kubelet, or by a shell into an option.
        if re.search(rf"\$\({name}\)|--?[\w-]+[= ][\"']?\$\{{?{name}\b", words):
            yield f"its command shows the Secret in {name}; hand it over in a file or in the environment"


def secret_errors(reference: dict[str, Any]) -> Iterator[str]:
    """One problem when a Secret's key is not among those documented in secrets.yaml."""
    name, key = reference.get("name"), reference.get("key")
    if name not in SECRETS:
        yield f"Secret {name!r} is not in check/secrets.yaml"
    elif key not in SECRETS[name]:
        yield f"Secret {name!r} has no key {key!r} in check/secrets.yaml"


def _ports(container: dict[str, Any]) -> Iterator[str]:
    ports = {p.get("name"): p["containerPort"] for p in container.get("ports") or []}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        get = (container.get(probe) or {}).get("httpGet") or (container.get(probe) or {}).get("tcpSocket")
        if get and get["port"] not in {*ports, *ports.values()}:
            yield f"{probe}: port {get['port']!r} is none of the container's"


def _of_kind(one: Object, names: Names) -> Iterator[str]:
    spec = one.get("spec") or {}
    match one["kind"]:
        case "RoleBinding" | "ClusterRoleBinding":
            yield from names.missing(one["roleRef"]["kind"], one["roleRef"]["name"])
            for subject in one["subjects"]:
                yield from names.missing(subject["kind"], subject["name"])
                if subject.get("namespace") != names.namespace:
                    yield f"its subject is in namespace {subject.get('namespace')!r}"
        case "ServiceAccount":
            for secret in one.get("secrets") or []:
                if secret["name"] not in SECRETS:
                    yield f"Secret {secret['name']!r} is not in check/secrets.yaml"
        case "StatefulSet":
            yield from names.missing("Service", spec["serviceName"])
        case "InferenceService":
            yield from _endpoint(one, names)
        case "InferenceGraph":
            yield from _steps(one, names)
        case "HTTPRoute":
            for backend in (b for rule in spec["rules"] for b in rule["backendRefs"]):
                if backend["port"] not in names.services().get(backend["name"], ()):
                    yield f"there is no Service {backend['name']!r} with port {backend['port']}"
        case "AlertmanagerConfig":
            for receiver in spec["receivers"]:
                for configured in receiver.get("pagerdutyConfigs") or []:
                    yield from secret_errors(configured["routingKey"])
                for configured in receiver.get("slackConfigs") or []:
                    yield from secret_errors(configured["apiURL"])
            receivers = {r["name"] for r in spec["receivers"]}
            for route in [spec["route"], *(spec["route"].get("routes") or [])]:
                if route["receiver"] not in receivers:
                    yield f"there is no receiver {route['receiver']!r}"


def _steps(one: Object, names: Names) -> Iterator[str]:
    """In Standard mode a service's name leads past the split, to a Service that a promotion deletes: addresses only."""
    standard = (one["metadata"].get("annotations") or {}).get(ANNOTATION) == STANDARD
    domain = ((names.get("ConfigMap", "sluice-settings") or {}).get("data") or {}).get("SLUICE_DOMAIN", "")
    known = {n: f"://{n}-{names.namespace}.{domain}/" for kind, n in names.objects if kind == "InferenceService"}
    for step in (s for node in one["spec"]["nodes"].values() for s in node.get("steps") or []):
        if name := step.get("serviceName"):
            yield from names.missing("InferenceService", name)
            if standard:
                problem = "in Standard mode that is stable's own Service: past the split, and gone after a promotion"
                yield f"a step names {name!r}: {problem}; give its address at the gateway in serviceUrl"
        if url := step.get("serviceUrl"):
            routes = [f"{at}{r}" for n, at in known.items() for r in (f"v1/models/{n}:predict", f"v2/models/{n}/infer")]
            if url.removeprefix("http").removeprefix("s") not in routes:
                some = f"as http{routes[0]}" if routes else "and there are none"
                yield f"serviceUrl {url!r} is no endpoint's route at the gateway, {some}"


def _endpoint(one: Object, names: Names) -> Iterator[str]:
    for predictor in [one["spec"]["predictor"], *(c["predictor"] for c in one["spec"].get("canary") or [])]:
        if account := predictor.get("serviceAccountName"):
            yield from names.missing("ServiceAccount", account)
        model = predictor.get("model") or {}
        runtime = names.get("ServingRuntime", model.get("runtime", ""))
        yield from names.missing("ServingRuntime", model.get("runtime", ""))
        formats = runtime["spec"]["supportedModelFormats"] if runtime else []
        if runtime and model["modelFormat"] not in formats:
            yield f"its runtime serves {formats}, not {model['modelFormat']}"
        if runtime and model.get("protocolVersion") not in runtime["spec"]["protocolVersions"]:
            yield f"its runtime speaks {runtime['spec']['protocolVersions']}, not {model.get('protocolVersion')!r}"
        scheme, _, rest = model.get("storageUri", "").partition("://")
        if scheme == "pvc":
            yield from names.missing("PersistentVolumeClaim", rest.partition("/")[0])
        elif scheme not in ("s3", "oci") or not rest:
            yield f"storageUri {model.get('storageUri')!r} is none of s3://, pvc:// and oci://"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value


def _urls(one: Object, names: Names) -> Iterator[str]:
    """Addresses in this namespace (``http://name`` and ``http://name.namespace.svc``) must be of a Service's port."""
    if "grafana_dashboard" in (one["metadata"].get("labels") or {}):
        return
    services = names.services()
    # The generator may be a Service that somebody else put into this namespace.
    texts = (
        {k: v for k, v in one.items() if k != "data"},
        {k: v for k, v in (one.get("data") or {}).items() if k != "SLUICE_GENERATOR_URL"},
    )
    for host, port in {u for text in _texts([*texts]) for u in _URL.findall(text)}:
        name, _, domain = host.partition(".")
        if host == "localhost" or (domain and domain.split(".")[:2] != [names.namespace, "svc"]):
            continue
        if int(port or 80) not in services.get(name, ()):
            yield f"http://{host}:{port or 80} is no Service of this build, nor an address elsewhere"
