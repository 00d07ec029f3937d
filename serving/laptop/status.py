"""The status of an InferenceService, as KServe writes it in Knative mode: conditions, revisions, traffic, model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.laptop.conditions import Condition, entry, model_status, worst
from serving.laptop.predictor import Predictor
from serving.laptop.rules import Revisions, Target
from serving.laptop.template import RuntimeMissing


@dataclass(frozen=True)
class View:
    """What is known of one InferenceService at this moment.

    ``traffic`` is what the router does, ``waiting`` names revisions that must get ready before it can do what is asked.
    """

    generation: int
    url: str
    revisions: Revisions
    traffic: tuple[Target, ...]
    predictors: Mapping[str, Predictor]
    waiting: tuple[str, ...] = ()
    problem: RuntimeMissing | None = None
    closed: str = ""
    runtime: str = ""


def status(view: View, old: Mapping[str, Any]) -> dict[str, Any]:
    """The whole status; ``old`` gives times of transition and the last failure, which outlive their cause."""
    configuration, route, ingress = _configuration(view), _route(view), _ingress(view)
    predictor = worst(configuration, route)
    conditions = {
        "IngressReady": ingress,
        "LatestDeploymentReady": configuration,
        "PredictorConfigurationReady": configuration,
        "PredictorReady": predictor,
        "PredictorRouteReady": route,
        "Ready": worst(predictor, ingress),
        "RoutesReady": route,
    }
    known = {c["type"]: c for c in old.get("conditions", [])}
    latest = view.predictors.get(view.revisions.created)
    copies = sum(p.state == "ready" for p in view.predictors.values())
    made: dict[str, Any] = {
        "observedGeneration": view.generation,
        "deploymentMode": "Knative",
        "conditions": [entry(kind, c, known.get(kind)) for kind, c in conditions.items()],
        "components": {"predictor": _component(view)},
        "modelStatus": model_status(latest, view.problem, copies, old.get("modelStatus", {})),
    }
    if view.runtime:
        made["servingRuntimeName"] = view.runtime
    if view.revisions.ready and not view.closed:
        made |= {"url": view.url, "address": {"url": view.url}}
    return made


def _configuration(view: View) -> Condition:
    """Is the newest revision ready?"""
    if view.problem is not None:
        return Condition("False", view.problem.reason, str(view.problem))
    name = view.revisions.created
    latest = view.predictors.get(name)
    if latest is not None and latest.failure:
        return Condition("False", "RevisionFailed", f'Revision "{name}" failed with message: {latest.failure}')
    if latest is not None and latest.state == "ready":
        return Condition("True")
    return Condition("Unknown", "Deploying", f'Revision "{name}" is starting')


def _route(view: View) -> Condition:
    """Does every revision that is given traffic answer?"""
    if view.waiting:
        return Condition("Unknown", "RevisionNotReady", f"traffic moves once {', '.join(view.waiting)} is ready")
    if not view.traffic:
        latest = view.predictors.get(view.revisions.created)
        failed = view.problem is not None or (latest is not None and bool(latest.failure))
        return Condition("False" if failed else "Unknown", "RevisionMissing", "no revision has been ready yet")
    for target in view.traffic:
        predictor = view.predictors.get(target.revision)
        if target.percent and (predictor is None or predictor.state != "ready"):
            why = predictor.failure if predictor is not None else ""
            message = f'Revision "{target.revision}" has {target.percent} % of the traffic and is not ready'
            return Condition("False" if why else "Unknown", "RevisionNotReady", f"{message}: {why}" if why else message)
    return Condition("True")


def _ingress(view: View) -> Condition:
    if view.closed:
        return Condition("False", "PortInUse", view.closed)
    if not view.traffic:
        return Condition("Unknown", "PredictorNotReady", "the address answers 503 until a revision is ready")
    return Condition("True")


def _component(view: View) -> dict[str, Any]:
    names = {
        "latestCreatedRevision": view.revisions.created,
        "latestReadyRevision": view.revisions.ready,
        "latestRolledoutRevision": view.revisions.rolled_out,
        "previousRolledoutRevision": view.revisions.previous,
    }
    made: dict[str, Any] = {field: name for field, name in names.items() if name}
    made["traffic"] = [_traffic(target, view.predictors.get(target.revision)) for target in view.traffic]
    if view.traffic:
        made |= {"url": view.url, "restUrl": view.url, "address": {"url": view.url}}
        # The router splits HTTP; gRPC goes straight to the revision with the largest share.
        largest = view.predictors.get(max(view.traffic, key=lambda t: t.percent).revision)
        if largest is not None and largest.grpc_port:
            made["grpcUrl"] = f"http://127.0.0.1:{largest.grpc_port}"
    return made


def _traffic(target: Target, predictor: Predictor | None) -> dict[str, Any]:
    made: dict[str, Any] = {
        "revisionName": target.revision,
        "latestRevision": target.latest,
        "percent": target.percent,
    }
    if target.tag:
        made["tag"] = target.tag
        if predictor is not None and predictor.address:
            made["url"] = predictor.address
    return made
