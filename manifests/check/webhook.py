"""What KServe's webhook refuses of an InferenceService, and what it takes that this project must not have.

Source: validateInferenceService in pkg/apis/serving/v1beta1/inference_service_validation.go of kserve/kserve, main of
2026-08-21.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from manifests.check.build import Object, label, quantity
from serving.contract.modes import ANNOTATION, SCALING, STANDARD

AUTOSCALER = "serving.kserve.io/autoscalerClass"
_CLASSES = ("hpa", "external", "keda", "none")
_KNATIVE_METRICS = ("concurrency", "rps")
_NAME = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_BLOCKED = ("PYTHONPATH",)
_SOURCES = {"Resource": "resource", "External": "external", "PodMetric": "podmetric"}
# What a target's type says must be there.
_TARGETS = {"Utilization": "averageUtilization", "AverageValue": "averageValue", "Value": "value"}


def webhook_errors(found: Object) -> list[str]:
    """What is refused of an InferenceService, as "Kind name: what"; nothing for other kinds."""
    if found["kind"] != "InferenceService":
        return []
    return [f"{label(found)}: {problem}" for problem in (*_service(found), *_traffic(found), *_canaries(found))]


def _mode(found: Object) -> str:
    return str((found["metadata"].get("annotations") or {}).get(ANNOTATION, ""))


def _service(found: Object) -> Iterator[str]:
    name, predictor = found["metadata"]["name"], found["spec"]["predictor"]
    if not re.fullmatch(_NAME, name):
        yield f"the name {name!r} must begin with a letter"
    chosen = (found["metadata"].get("annotations") or {}).get(AUTOSCALER)
    if chosen is not None and chosen not in _CLASSES:
        yield f"{AUTOSCALER}: {chosen!r} is none of {', '.join(_CLASSES)}"
    yield from (f"spec.predictor: {problem}" for problem in (*_predictor(predictor), *_replicas(predictor)))
    if _mode(found) != STANDARD:
        yield from _knative(predictor)
    elif chosen == "keda":
        yield from _keda(predictor)
    elif chosen in (None, "hpa"):
        yield from _hpa(predictor)
    # KServe takes it, and refuses the canary with a replica of its own that a rollback begins with.
    if _mode(found) == STANDARD and predictor.get("minReplicas") == 0:
        yield (
            "minReplicas 0: a rollback brings the previous model up as a canary with one replica, and KServe refuses a "
            "canary with more than stable's minReplicas; at least 1 in Standard mode"
        )


def _predictor(predictor: dict[str, Any]) -> Iterator[str]:
    model = predictor.get("model")
    if not model:
        yield "no model"
        return
    if model.get("name"):
        yield f"model.name {model['name']!r}: KServe refuses a name there; leave it out (a canary's must be empty)"
    for where in (model, *(predictor.get("containers") or [])):
        for variable in where.get("env") or []:
            if variable["name"] in _BLOCKED:
                yield f"env {variable['name']}: KServe refuses it"
    if not model.get("modelFormat", {}).get("name"):
        yield "model.modelFormat.name: Required value"


def _replicas(predictor: dict[str, Any]) -> Iterator[str]:
    low, high = predictor.get("minReplicas", 1), predictor.get("maxReplicas", 0)
    for name, value in (("minReplicas", low), ("maxReplicas", high)):
        if value < 0:
            yield f"{name} {value} is below 0"
    if high and low > high:
        yield f"minReplicas is above maxReplicas: {low} and {high}"
    if predictor.get("containerConcurrency", 0) < 0:
        yield f"containerConcurrency {predictor['containerConcurrency']} is below 0"


def _knative(predictor: dict[str, Any]) -> Iterator[str]:
    if predictor.get("deploymentStrategy"):
        yield "deploymentStrategy: only in Standard mode"
    metric, target = predictor.get("scaleMetric", "concurrency"), predictor.get("scaleTarget")
    if metric not in _KNATIVE_METRICS:
        yield f"scaleMetric {metric!r}: Knative mode knows {' and '.join(_KNATIVE_METRICS)}"
    if target is not None and target < 1:
        yield f"scaleTarget {target} is below 1"


def _hpa(predictor: dict[str, Any]) -> Iterator[str]:
    metric, target = predictor.get("scaleMetric", "cpu"), predictor.get("scaleTarget")
    if metric not in ("cpu", "memory"):
        yield f"scaleMetric {metric!r}: an HPA knows cpu and memory"
    if target is not None and not 1 <= target <= 100:
        yield f"scaleTarget {target} is no percentage from 1 to 100"
    for at, metric in enumerate((predictor.get("autoScaling") or {}).get("metrics") or []):
        if metric.get("type") != "Resource" or not metric.get("resource"):
            yield f"autoScaling.metrics[{at}]: an HPA takes type Resource with a resource, and nothing else"


def _keda(predictor: dict[str, Any]) -> Iterator[str]:
    if "scaleMetric" in predictor:
        yield "scaleMetric: not with KEDA; use autoScaling.metrics"
    for at, metric in enumerate((predictor.get("autoScaling") or {}).get("metrics") or []):
        yield from (f"autoScaling.metrics[{at}]: {problem}" for problem in _keda_metric(metric))


def _keda_metric(metric: dict[str, Any]) -> Iterator[str]:
    kind = metric.get("type")
    if kind not in _SOURCES:
        yield f"type {kind!r} is none of {', '.join(_SOURCES)}"
        return
    source = metric.get(_SOURCES[kind])
    if not source:
        yield f"type {kind} needs {_SOURCES[kind]}"
        return
    target = source.get("target") or {}
    if kind == "Resource":
        yield from _keda_resource(source.get("name"), target)
    else:
        if not (source.get("metric") or {}).get("query"):
            yield "the query should not be empty"
        if target.get("value") is None:
            yield "the target threshold value should not be empty: target: {type: Value, value: …}"
    yield from _keda_target(target)


def _keda_resource(name: Any, target: dict[str, Any]) -> Iterator[str]:
    allowed = {"cpu": ("Utilization",), "memory": ("Utilization", "AverageValue")}.get(str(name))
    if allowed is None:
        yield f"resource {name!r} is neither cpu nor memory"
    elif target.get("type") not in allowed:
        yield f"the target of {name} must be of type {' or '.join(allowed)}, not {target.get('type')!r}"
    elif target["type"] == "AverageValue" and (quantity(target.get("averageValue")) or 0) < 1 << 20:
        yield f"the target of memory must be at least 1Mi, not {target.get('averageValue')!r}"


def _keda_target(target: dict[str, Any]) -> Iterator[str]:
    kind = target.get("type")
    needed = _TARGETS.get(str(kind))
    if needed is None:
        yield f"target.type {kind!r} is none of {', '.join(_TARGETS)}"
    elif target.get(needed) is None:
        yield f"target.type {kind} needs {needed}"
    for key in ("value", "averageValue"):
        if key in target and not (quantity(target[key]) or 0) > 0:
            yield f"target.{key}: {target[key]!r} is no quantity above 0"
    share = target.get("averageUtilization")
    if share is not None and not 1 <= share <= 100:
        yield f"target.averageUtilization {share} is no percentage from 1 to 100"


def _traffic(found: Object) -> Iterator[str]:
    """What KServe takes, or ignores, without a word."""
    percent = found["spec"]["predictor"].get("canaryTrafficPercent")
    if percent is not None and not 0 <= percent <= 100:
        yield f"canaryTrafficPercent {percent} is not within 0 to 100 (KServe itself takes it)"
    if percent is not None and _mode(found) == STANDARD:
        yield "canaryTrafficPercent: Standard mode ignores it and would roll out in full; use spec.canary"


def _canaries(found: Object) -> Iterator[str]:
    stable, canaries = found["spec"]["predictor"], found["spec"].get("canary") or []
    if canaries and _mode(found) != STANDARD:
        yield f"spec.canary: {_mode(found)} mode has none; use canaryTrafficPercent, or {ANNOTATION}: Standard"
    shares = [canary.get("trafficPercent", 0) for canary in canaries]
    if any(not 0 <= share <= 100 for share in shares) or sum(shares) > 100:
        yield f"spec.canary: trafficPercent {shares} is not within 0 to 100, all together"
    names = [stable.get("name", ""), *(canary["predictor"].get("name", "") for canary in canaries)]
    if "" in names[1:] or max(Counter(names).values()) > 1:
        yield f"spec.canary: the names {names} must differ, and each canary needs one"
    for at, predictor in enumerate(canary["predictor"] for canary in canaries):
        for problem in (*_predictor(predictor), *_replicas({**predictor, "maxReplicas": 0})):
            yield f"spec.canary[{at}]: {problem}"
        if given := [key for key in (*SCALING, "workerSpec") if key in predictor]:
            yield f"spec.canary[{at}]: {', '.join(given)}: a canary has a fixed number of replicas; leave it out"
        if predictor.get("minReplicas", 0) > stable.get("minReplicas", 1):
            yield (
                f"spec.canary[{at}]: minReplicas {predictor['minReplicas']} is above stable's, which is "
                f"{stable.get('minReplicas', 1)}: KServe refuses it"
            )
