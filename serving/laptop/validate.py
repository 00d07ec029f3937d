"""What the API server refuses: KServe's CRD and webhook rules, and what a laptop cannot do."""

import re
from typing import Any

from serving.contract.errors import SluiceError
from serving.contract.modes import KNATIVE, SCALING, STANDARD, deployment_mode, unchanged_mode, workload_name
from serving.laptop.standard.rules import overlay
from serving.laptop.template import progress_deadline

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
_STORAGE = ("gs://", "s3://", "pvc://", "file://", "https://", "http://", "hdfs://", "webhdfs://", "oci://", "hf://")
_SPEC = {"predictor", "transformer", "explainer", "canary"}


def _names(*lines: str) -> set[str]:
    return {word for line in lines for word in line.split()}


_CONTAINER = _names(
    "args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resizePolicy",
    "resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce terminationMessagePath",
    "terminationMessagePolicy tty volumeDevices volumeMounts workingDir",
)
_MODEL = _CONTAINER | _names("confidential modelFormat protocolVersion runtime runtimeVersion storage storageUri")
# Other implementations and co-workers of a predictor: a cluster runs them, a laptop does not.
_ELSEWHERE = _names(
    "batcher containers huggingface initContainers lightgbm logger onnx paddle pmml pytorch sklearn storageUris",
    "tensorflow triton workerSpec xgboost",
)
_PREDICTOR = _ELSEWHERE | _names(
    "activeDeadlineSeconds affinity annotations autoScaling automountServiceAccountToken canaryTrafficPercent",
    "containerConcurrency deploymentStrategy dnsConfig dnsPolicy enableServiceLinks hostAliases hostIPC hostNetwork",
    "hostPID hostUsers hostname hostnameOverride imagePullSecrets labels maxReplicas minReplicas model name nodeName",
    "nodeSelector os overhead preemptionPolicy priority priorityClassName readinessGates resourceClaims resources",
    "restartPolicy runtimeClassName scaleMetric scaleMetricType scaleTarget schedulerName schedulingGates",
    "securityContext serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace storageContainerName",
    "subdomain terminationGracePeriodSeconds timeout tolerations topologySpreadConstraints volumes",
)


def validate_inference_service(obj: dict[str, Any]) -> None:
    """Raise SluiceError unless ``obj`` is an InferenceService that KServe would admit and this laptop can run.

    Three rules are stricter than KServe's: an unknown field is refused (a cluster prunes it silently), and so are a
    canaryTrafficPercent outside 0..100 (a cluster's CRD and webhook let it through) and one in Standard mode (a
    cluster ignores it).
    """
    name = str(obj["metadata"].get("name", ""))
    if not _NAME.match(name):
        raise SluiceError(
            f"metadata.name {name!r}: an InferenceService name consists of lower case letters, digits or '-', and "
            "starts with a letter, for example codebase"
        )
    spec = _object(obj.get("spec"), "spec")
    _known(spec, _SPEC, "spec")
    for part in ("transformer", "explainer"):
        if spec.get(part):
            raise SluiceError(f"spec.{part}: the laptop runs predictors only; apply this to a cluster")
    progress_deadline(obj["metadata"].get("annotations") or {})
    predictor = _object(spec.get("predictor"), "spec.predictor")
    _predictor(predictor, "spec.predictor")
    _model(predictor, "spec.predictor")
    {KNATIVE: _knative, STANDARD: _standard}[deployment_mode(obj)](spec, name)


def _predictor(predictor: dict[str, Any], place: str) -> None:
    _known(predictor, _PREDICTOR, place)
    if other := sorted(_ELSEWHERE & predictor.keys()):
        raise SluiceError(f"{place}.{other[0]}: the laptop runs {place}.model with a ServingRuntime only")
    low, high = _integer(predictor, "minReplicas", place), _integer(predictor, "maxReplicas", place)
    for field in ("minReplicas", "maxReplicas", "containerConcurrency", "timeout"):
        if (_integer(predictor, field, place) or 0) < 0:
            raise SluiceError(f"{place}.{field}: cannot be less than 0")
    if high and (low or 0) > high:
        raise SluiceError(f"{place}: maxReplicas {high} cannot be less than minReplicas {low}")
    if predictor.get("name") and not _NAME.match(str(predictor["name"])):
        raise SluiceError(f"{place}.name: {predictor['name']!r} must consist of lower case letters, digits and '-'")


def _knative(spec: dict[str, Any], name: str) -> None:
    if spec.get("canary"):
        raise SluiceError("spec.canary: only Standard mode has it; in Knative mode set canaryTrafficPercent")
    _percent(spec["predictor"], "canaryTrafficPercent", "spec.predictor")
    if "deploymentStrategy" in spec["predictor"]:
        raise SluiceError("spec.predictor.deploymentStrategy: only Standard mode has it; this is Knative mode")


def _standard(spec: dict[str, Any], name: str) -> None:
    if "canaryTrafficPercent" in spec["predictor"]:
        raise SluiceError("spec.predictor.canaryTrafficPercent: Standard mode ignores it; use spec.canary")
    canaries = spec.get("canary") or []
    if not isinstance(canaries, list):
        raise SluiceError("spec.canary: must be a list")
    names, total = [str(spec["predictor"].get("name", ""))], 0
    for index, canary in enumerate(canaries):
        place = f"spec.canary[{index}]"
        _canary(_object(canary, place), spec["predictor"], names, place)
        total += canary["trafficPercent"]
        names.append(canary["predictor"]["name"])
    if total > 100:
        raise SluiceError(f"spec.canary: the trafficPercent of all canaries add up to {total}, more than 100")
    if long := [made for n in names if len(made := workload_name(name, n)) > 63]:
        raise SluiceError(f"spec: the Deployment would be named {long[0]}, longer than 63 characters")


def _canary(canary: dict[str, Any], stable: dict[str, Any], names: list[str], place: str) -> None:
    """One of spec.canary; ``names`` are those of the predictors before it."""
    _known(canary, {"predictor", "trafficPercent"}, place)
    if _percent(canary, "trafficPercent", place) is None:
        raise SluiceError(f"{place}.trafficPercent: required, 0 to 100")
    own = _object(canary.get("predictor"), f"{place}.predictor")
    _predictor(own, f"{place}.predictor")
    if not own.get("name"):
        raise SluiceError(f"{place}.predictor.name: required")
    if own["name"] in names:
        raise SluiceError(f"{place}.predictor.name: {own['name']!r} is taken; each predictor needs one of its own")
    if scaled := sorted({*SCALING, "canaryTrafficPercent"} & own.keys()):
        raise SluiceError(f"{place}.predictor.{scaled[0]}: not allowed on a canary, which has fixed replicas")
    whole = stable.get("minReplicas")
    if (own.get("minReplicas") or 0) > (most := 1 if whole is None else whole):
        raise SluiceError(f"{place}.predictor.minReplicas: {own['minReplicas']} must not exceed stable's ({most})")
    for field in ("modelFormat", "name"):  # the CRD wants both here, and neither needs to say anything new
        if own.get("model") and field not in own["model"]:
            raise SluiceError(f"{place}.predictor.model.{field}: required{' (empty)' if field == 'name' else ''}")
    # Of a canary's model the webhook takes any name; once it is stable's it refuses one.
    unnamed = {key: value for key, value in (own.get("model") or {}).items() if key != "name"}
    _model(overlay(stable, {**own, "model": unnamed}), f"{place}.predictor")


def validate_change(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raise SluiceError for an update of an InferenceService that KServe's webhook refuses, whatever it leads to."""
    unchanged_mode(old, new)
    before, after = old["spec"]["predictor"], new["spec"]["predictor"]
    if deployment_mode({**new, "status": old.get("status")}) != STANDARD or before.get("name") == after.get("name"):
        return
    if before.get("model") == after.get("model"):
        raise SluiceError("spec.predictor.name: a change of the name requires a change of the model (a promotion)")


def _model(predictor: dict[str, Any], place: str) -> None:
    model = _object(predictor.get("model"), f"{place}.model")
    _known(model, _MODEL, f"{place}.model")
    if model.get("name"):
        raise SluiceError(f"{place}.model.name: the field 'name' is not allowed in a standard predictor")
    form = _object(model.get("modelFormat"), f"{place}.model.modelFormat")
    if not isinstance(form.get("name"), str):
        raise SluiceError(f"{place}.model.modelFormat.name: required, a string")
    for field in ("runtime", "storageUri", "protocolVersion", "image", "workingDir"):
        if field in model and not isinstance(model[field], str):
            raise SluiceError(f"{place}.model.{field}: must be a string, not {type(model[field]).__name__}")
    uri = model.get("storageUri", "")
    if uri and not uri.startswith(_STORAGE) and "://" in uri:
        raise SluiceError(f"{place}.model.storageUri: {uri!r} must start with one of {', '.join(_STORAGE)}")
    _container(model, f"{place}.model")


def validate_serving_runtime(obj: dict[str, Any]) -> None:
    """Raise SluiceError unless ``obj`` is a ServingRuntime with a container named kserve-container."""
    spec = _object(obj.get("spec"), "spec")
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers:
        raise SluiceError("spec.containers: required, a list with a container named kserve-container")
    for index, container in enumerate(containers):
        place = f"spec.containers[{index}]"
        _known(_object(container, place), _CONTAINER, place)
        if not isinstance(container.get("name"), str):
            raise SluiceError(f"{place}.name: required, a string")
        _container(container, place)
    if not any(c["name"] == "kserve-container" for c in containers):
        raise SluiceError("spec.containers: KServe looks for a container named kserve-container, and there is none")


def _container(container: dict[str, Any], place: str) -> None:
    for field in ("command", "args"):
        values = container.get(field) or []
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise SluiceError(f"{place}.{field}: must be a list of strings (quote numbers)")
    for variable in container.get("env") or []:
        if not isinstance(variable, dict) or not isinstance(variable.get("name"), str):
            raise SluiceError(f"{place}.env: each entry needs a name; got {variable!r}")
        if not isinstance(variable.get("value", ""), str):
            raise SluiceError(f"{place}.env {variable['name']}: value must be a string (quote numbers)")


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SluiceError(f"{place}: required, an object" if value is None else f"{place}: must be an object")
    return value


def _known(value: dict[str, Any], names: set[str], place: str) -> None:
    if unknown := sorted(value.keys() - names):
        raise SluiceError(f'{place}: strict decoding error: unknown field "{place}.{unknown[0]}"')


def _percent(value: dict[str, Any], field: str, place: str) -> int | None:
    percent = _integer(value, field, place)
    if percent is not None and not 0 <= percent <= 100:
        raise SluiceError(f"{place}.{field}: {percent} is not within 0..100")
    return percent


def _integer(value: dict[str, Any], field: str, place: str) -> int | None:
    number = value.get(field)
    if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
        raise SluiceError(f"{place}.{field}: must be an integer, not {number!r}")
    return number
