"""From an InferenceService and its ServingRuntime to what one revision is, and to the command that runs it here."""

import hashlib
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from serving.contract.errors import SluiceError
from serving.contract.modes import STANDARD

_MODELS = "/mnt/models"  # where KServe's storage initializer puts what storageUri names
_DEADLINE = "serving.knative.dev/progress-deadline"
_PORT_FLAG = re.compile(r"(--?[\w-]*port)(?:=(\d+))?\Z")
# KServe's ServiceAnnotationDisallowedList: these alone do not reach the revision.
_NOT_TEMPLATE = {
    "autoscaling.knative.dev/min-scale",
    "autoscaling.knative.dev/max-scale",
    "internal.serving.kserve.io/storage-initializer-sourceuri",
    "kubectl.kubernetes.io/last-applied-configuration",
}
_NOT_POD = {
    *("name", "canaryTrafficPercent", "minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType"),
    *("autoScaling", "deploymentStrategy", "annotations"),
}


class RuntimeMissing(SluiceError):
    """No usable ServingRuntime; ``reason`` is KServe's word for it (modelStatus.lastFailureInfo.reason)."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Probe:
    """An HTTP GET that must answer 2xx or 3xx; periods and timeouts in seconds."""

    path: str
    period: float
    timeout: float
    failures: int


@dataclass(frozen=True)
class Launch:
    """How to start one predictor process."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str | None
    port: int
    grpc_port: int
    ready: Probe
    alive: Probe | None


def revision_template(service: dict[str, Any], runtimes: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything a revision is made of; a different template is a new revision, as in Knative.

    That is the predictor without canaryTrafficPercent, the runtime's container merged with the model's (arguments
    appended, variables by name, the rest replaced), and the object's labels and annotations.
    Raises RuntimeMissing when no ServingRuntime fits.
    """
    meta, predictor = service["metadata"], service["spec"]["predictor"]
    runtime = _runtime(predictor["model"], runtimes)
    model = predictor["model"]
    container = next(c for c in runtime["spec"]["containers"] if c["name"] == "kserve-container")
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if k not in _NOT_TEMPLATE}
    return {
        "service": meta["name"],
        "namespace": meta["namespace"],
        "labels": meta.get("labels") or {},
        "annotations": annotations,
        "runtime": runtime["metadata"]["name"],
        "container": _merged(container, model),
        "storageUri": model.get("storageUri", ""),
        "predictor": {k: v for k, v in predictor.items() if k not in ("canaryTrafficPercent", "model")},
    }


def pod_template(service: dict[str, Any], predictor: dict[str, Any], runtimes: list[dict[str, Any]]) -> dict[str, Any]:
    """In Standard mode: all that the pods of one predictor are made of; a different one is a rolling update.

    Numbers of replicas are no part of it; annotations are, those of the object and the predictor's own over them.
    """
    counted = {k: v for k, v in predictor.items() if k not in _NOT_POD}
    made = revision_template({**service, "spec": {"predictor": counted}}, runtimes)
    own = {k: v for k, v in (predictor.get("annotations") or {}).items() if k not in _NOT_TEMPLATE}
    return {**made, "mode": STANDARD, "annotations": {**made["annotations"], **own}}


def digest(template: dict[str, Any]) -> str:
    """A name for a template's content."""
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:16]


def progress_deadline(annotations: dict[str, str]) -> float | None:
    """Seconds that Knative's annotation gives a revision to get ready; None without it, SluiceError for nonsense."""
    text = annotations.get(_DEADLINE)
    if text is None:
        return None
    if not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h))+", text):
        raise SluiceError(f"annotation {_DEADLINE}: {text!r} is no duration; write for example 90s or 2m")
    scale = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
    return sum(float(n) * scale[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text))


def _runtime(model: dict[str, Any], runtimes: list[dict[str, Any]]) -> dict[str, Any]:
    form = model["modelFormat"]["name"]
    enabled = [r for r in runtimes if not r["spec"].get("disabled")]
    if name := model.get("runtime"):
        found = next((r for r in runtimes if r["metadata"]["name"] == name), None)
        if found is None:
            raise RuntimeMissing(
                "RuntimeNotRecognized", f"there is no ServingRuntime {name!r} in this namespace; apply it first"
            )
        if found not in enabled:
            raise RuntimeMissing("RuntimeDisabled", f"the ServingRuntime {name!r} is disabled")
        formats = [f["name"] for f in found["spec"].get("supportedModelFormats") or []]
        if form not in formats:
            raise RuntimeMissing(
                "NoSupportingRuntime", f"the ServingRuntime {name!r} supports {formats}, not modelFormat {form!r}"
            )
        return found
    for runtime in enabled:
        for entry in runtime["spec"].get("supportedModelFormats") or []:
            if entry["name"] == form and entry.get("autoSelect"):
                return runtime
    raise RuntimeMissing(
        "NoSupportingRuntime",
        f"no ServingRuntime here selects itself for modelFormat {form!r}; name one in model.runtime",
    )


def _merged(container: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    own = {
        k: v for k, v in model.items() if k not in ("modelFormat", "runtime", "runtimeVersion", "storageUri", "storage")
    }
    env = {v["name"]: v for v in [*(container.get("env") or []), *(model.get("env") or [])]}
    args = [*(container.get("args") or []), *(model.get("args") or [])]
    return {**container, **own, "args": args, "env": list(env.values()), "name": "kserve-container"}


def plan(template: dict[str, Any], revision: str, local_port: Callable[[int], int]) -> Launch:
    """Turn a template into a command for this machine.

    ``local_port`` maps a container's port to a free one here. ``{{.Name}}`` and its kin and ``$(VARIABLE)`` are filled
    in, /mnt/models becomes the directory that storageUri names, and `python` this interpreter.
    Raises SluiceError with what cannot be run on a laptop, or which path is missing.
    """
    container = template["container"]
    models = _local_path(template["storageUri"]) if template["storageUri"] else None

    def local(text: str) -> str:
        text = _fill(text, template)
        return text.replace(_MODELS, str(models)) if models else text

    env = _environment(container, template, revision, local)
    words = [re.sub(r"\$\((\w+)\)", lambda m: env.get(m[1], m[0]), local(w)) for w in _words(container)]
    asked = _http_port(container)
    argv, moved, grpc = _move_ports(words, local_port)
    if asked not in moved:
        raise SluiceError(
            f"ServingRuntime {template['runtime']}: no argument ends in 'port' with the value {asked}, so the server"
            f" cannot be moved to a free port here; add --http-port={asked} to args"
        )
    if argv[0] in ("python", "python3"):
        argv[0] = sys.executable
    env["PORT"] = str(moved[asked])
    default = {"path": f"/v2/models/{template['service']}/ready"}
    ready = _probe(container.get("readinessProbe") or {}, default, local)
    alive = _probe(container["livenessProbe"], default, local) if container.get("livenessProbe") else None
    return Launch(tuple(argv), env, container.get("workingDir"), moved[asked], grpc, ready, alive)


def _words(container: dict[str, Any]) -> list[str]:
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    if not container.get("command"):
        raise SluiceError(
            "the container has no command: a laptop does not read images; name the command in the ServingRuntime"
        )
    return words


def _fill(text: str, template: dict[str, Any]) -> str:
    def value(match: re.Match[str]) -> str:
        field = match[1]
        if field in ("Name", "Namespace"):
            return str(template["service" if field == "Name" else "namespace"])
        kind, _, key = field.partition(".")
        found = template.get(kind.lower(), {}) if kind in ("Labels", "Annotations") else {}
        if key not in found:
            raise SluiceError(
                f"ServingRuntime {template['runtime']}: {match[0]} names nothing that {template['service']} has"
            )
        return str(found[key])

    return re.sub(r"\{\{\s*\.([\w.]+)\s*\}\}", value, text)


def _environment(
    container: dict[str, Any], template: dict[str, Any], revision: str, local: Callable[[str], str]
) -> dict[str, str]:
    env = {"OMP_NUM_THREADS": "1", "SLUICE_HOST": "127.0.0.1", **os.environ, "PYTHONUNBUFFERED": "1"}
    for variable in container.get("env") or []:
        if "valueFrom" in variable:
            raise SluiceError(f"env {variable['name']}: valueFrom needs a cluster; give a plain value on a laptop")
        env[variable["name"]] = local(variable.get("value", ""))
    if "SLUICE_PEERS" in os.environ:  # the names in the manifest resolve in a cluster alone
        env["SLUICE_PEERS"] = os.environ["SLUICE_PEERS"]
    if template.get("mode") == STANDARD:
        return env  # what Knative tells a container, nobody tells it there
    configuration = f"{template['service']}-predictor"
    return {**env, "K_REVISION": revision, "K_CONFIGURATION": configuration, "K_SERVICE": configuration}


def _http_port(container: dict[str, Any]) -> int:
    for port in container.get("ports") or []:
        if port.get("name") not in ("h2c", "grpc"):
            return int(port["containerPort"])
    return 8080  # KServe's default


def _move_ports(words: list[str], local_port: Callable[[int], int]) -> tuple[list[str], dict[int, int], int]:
    """Give every ``--…port N`` and ``--…port=N`` a free port; 0 means none and stays.

    Returns the words, what moved where, and the new port of a flag that names gRPC (0 without one).
    """
    argv: list[str] = []
    moved: dict[int, int] = {}
    grpc, flag = 0, ""
    for word in words:
        match = _PORT_FLAG.match(word)
        name, asked = (match[1], int(match[2] or 0)) if match else (flag, int(word) if flag and word.isdigit() else 0)
        if asked:
            moved[asked] = local_port(asked)
            word = f"{name}={moved[asked]}" if match else str(moved[asked])
            grpc = moved[asked] if "grpc" in name else grpc
        flag = name if match and not match[2] else ""
        argv.append(word)
    return argv, moved, grpc


def _probe(given: dict[str, Any], default: dict[str, Any], local: Callable[[str], str]) -> Probe:
    get = given.get("httpGet") or default
    return Probe(
        local(get.get("path") or "/"),
        float(given.get("periodSeconds") or 10),
        float(given.get("timeoutSeconds") or 1),
        int(given.get("failureThreshold") or 3),
    )


def _local_path(uri: str) -> Path:
    parts = urlparse(uri)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise SluiceError(f"storageUri {uri}: a laptop reads file:///absolute/path only")
    path = Path(unquote(parts.path))
    if not path.is_absolute():
        raise SluiceError(f"storageUri {uri}: must be an absolute path, as file:///…")
    if not path.exists():
        raise SluiceError(f"storageUri {uri}: {path} does not exist; write the bundle there or name one that is there")
    return path
