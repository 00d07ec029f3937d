"""KServe's rules of predictors and traffic in Standard mode, as pure functions.

Source, in github.com/kserve/kserve: reconcileCanaryDeployments, buildCanaryPredictor and canaryReplicaCount in
pkg/controller/v1beta1/inferenceservice/components/predictor.go (which Deployments there are), and applyCanaryWeights in
reconcilers/ingress/httproute_reconciler.go below it (how an HTTPRoute weighs them).
"""

import copy
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from serving.contract.modes import SCALING, workload_name


@dataclass(frozen=True)
class Workload:
    """One predictor, with the name of its Deployment and Service.

    ``percent``: trafficPercent of a canary, None for stable. ``replicas``: how many pods it gets; KServe runs none for
    a canary at 0 % without minReplicas.
    """

    name: str
    variant: str
    predictor: Mapping[str, Any]
    percent: int | None
    replicas: int


def workloads(service: Mapping[str, Any]) -> tuple[Workload, ...]:
    """What an InferenceService in Standard mode asks for: stable first, then its canaries in order."""
    name, spec = service["metadata"]["name"], service["spec"]
    stable = spec["predictor"]
    variant = stable.get("name", "")
    found = [Workload(workload_name(name, variant), variant, stable, None, max(1, stable.get("minReplicas") or 1))]
    for canary in spec.get("canary") or []:
        variant, percent = canary["predictor"]["name"], canary["trafficPercent"]
        whole = overlay(stable, canary["predictor"])
        found.append(
            Workload(workload_name(name, variant), variant, whole, percent, _replicas(stable, canary, percent))
        )
    return tuple(found)


def _replicas(stable: Mapping[str, Any], canary: Mapping[str, Any], percent: int) -> int:
    own = canary["predictor"].get("minReplicas")
    whole = stable.get("minReplicas")
    return int(own) if own is not None else math.ceil((1 if whole is None else whole) * percent / 100)


def overlay(stable: Mapping[str, Any], canary: Mapping[str, Any]) -> dict[str, Any]:
    """A canary's whole predictor: its own fields over stable's, objects field by field, lists as they are.

    An empty value does not override, and what only stable has stays, so a key that a canary drops is still there while
    it is a canary, and gone once it is stable.
    """
    made = _over(copy.deepcopy(dict(stable)), canary)
    return {k: v for k, v in made.items() if k not in (*SCALING, "minReplicas")}


def _over(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in above.items():
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            below[key] = _over(below[key], value)
        elif value not in (None, "", [], {}):
            below[key] = copy.deepcopy(value)
    return below


def weights(wanted: tuple[Workload, ...], ready: Collection[str], before: Mapping[str, int]) -> dict[str, int]:
    """Percent of the requests by workload; ``ready`` names those that answer, ``before`` is how it was.

    A canary takes part once it is ready; stable has what is left. The route is written only while stable is ready, so
    without it everything stays as it was.
    """
    stable = wanted[0]
    if stable.name not in ready:
        return dict(before)
    shares = {w.name: w.percent for w in wanted[1:] if w.name in ready and w.percent is not None}
    return {stable.name: 100 - sum(shares.values()), **shares}
