"""The status of an InferenceService, as KServe writes it in Standard mode: conditions, canaryStatuses, model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.laptop.conditions import Condition, entry, model_status, worst
from serving.laptop.predictor import Predictor
from serving.laptop.standard.rules import Workload
from serving.laptop.template import RuntimeMissing


@dataclass(frozen=True)
class Deployed:
    """A workload and what runs for it: the newest process, and the one that answers (often the same; None: none)."""

    workload: Workload
    generation: int
    newest: Predictor | None
    answering: Predictor | None
    problem: RuntimeMissing | None
    runtime: str

    @property
    def available(self) -> bool:
        """Does it answer?"""
        return self.workload.replicas > 0 and self.answering is not None and self.answering.state == "ready"


@dataclass(frozen=True)
class View:
    """What is known of one InferenceService at this moment; ``deployed`` is stable first, then the canaries."""

    url: str
    address: str
    deployed: tuple[Deployed, ...]
    weights: Mapping[str, int]
    closed: str = ""


def status(view: View, old: Mapping[str, Any]) -> dict[str, Any]:
    """The whole status; ``old`` gives times of transition and the last failure, which outlive their cause.

    observedGeneration is that of stable's Deployment, which says nothing about the object's own: KServe has it so.
    """
    stable, *canaries = view.deployed
    conditions = {"IngressReady": _ingress(view), "PredictorReady": _predictor(stable)}
    conditions["Ready"] = worst(*conditions.values())
    if canaries:
        conditions["CanaryPredictorReady"] = _canaries(canaries)
    known = {c["type"]: c for c in old.get("conditions", [])}
    made: dict[str, Any] = {
        "observedGeneration": stable.generation,
        "deploymentMode": "Standard",
        "conditions": [entry(kind, c, known.get(kind)) for kind, c in sorted(conditions.items())],
        "components": {"predictor": _component(view)},
        "modelStatus": _model(stable, old.get("modelStatus", {})),
    }
    if canaries:
        before = {c["name"]: c for c in old.get("canaryStatuses", [])}
        made["canaryStatuses"] = [_canary(c, before.get(c.workload.variant, {})) for c in canaries]
    if stable.runtime:
        made["servingRuntimeName"] = stable.runtime
    if view.weights and not view.closed:
        made |= {"url": view.url, "address": {"url": view.address}}
    return made


def _predictor(stable: Deployed) -> Condition:
    """Is stable's Deployment complete and available?"""
    if stable.problem is not None:
        return Condition("False", "ReconcileFailed", str(stable.problem))
    why = stable.newest.failure if stable.newest is not None else ""
    if not stable.available and why:
        return Condition("False", "MinimumReplicasUnavailable", why)
    if why and stable.newest is not None and stable.newest.state == "failed":
        return Condition("False", "ProgressDeadlineExceeded", why)
    if stable.available and stable.newest is stable.answering:
        return Condition("True")
    return Condition("Unknown", "ReplicaSetUpdated", f"{stable.workload.name} is starting")


def _ingress(view: View) -> Condition:
    if view.closed:
        return Condition("False", "PortInUse", view.closed)
    if not view.weights:
        return Condition("False", "Predictor ingress not created", "the address answers 503 until stable is ready")
    return Condition("True")


def _canaries(canaries: list[Deployed]) -> Condition:
    waiting = [c.workload.variant for c in canaries if not c.available]
    if waiting:
        return Condition("False", "CanariesNotReady", f"not ready: {', '.join(waiting)}")
    return Condition("True", "AllCanariesReady")


def _component(view: View) -> dict[str, Any]:
    stable = view.deployed[0]
    if not stable.available or stable.answering is None:
        return {}
    made = {"url": view.url, "address": {"url": view.address}}
    if stable.answering.grpc_port:  # the router splits HTTP; gRPC goes straight to stable
        made["grpcUrl"] = f"http://127.0.0.1:{stable.answering.grpc_port}"
    return made


def _canary(canary: Deployed, old: Mapping[str, Any]) -> dict[str, Any]:
    workload = canary.workload
    made = {"name": workload.variant, "ready": canary.available, "trafficPercent": workload.percent}
    return {**made, "modelStatus": _model(canary, old.get("modelStatus", {}))}


def _model(deployed: Deployed, old: Mapping[str, Any]) -> dict[str, Any]:
    return model_status(deployed.newest, deployed.problem, int(deployed.available), old)
