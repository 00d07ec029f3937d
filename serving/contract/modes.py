"""KServe's two deployment modes: which one an InferenceService is in, and its names in Standard mode."""

from collections.abc import Mapping
from typing import Any

from serving.contract.errors import SluiceError

ANNOTATION = "serving.kserve.io/deploymentMode"
KNATIVE, STANDARD = "Knative", "Standard"
# ParseDeploymentMode in KServe's pkg/constants still takes the names of before 0.16.
_NAMES = {KNATIVE: KNATIVE, "Serverless": KNATIVE, STANDARD: STANDARD, "RawDeployment": STANDARD}
# A canary in Standard mode has a fixed number of replicas: the webhook refuses these on it.
SCALING = ("maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")


def deployment_mode(obj: Mapping[str, Any]) -> str:
    """Knative or Standard: what the annotation says, else the status, else Knative; SluiceError for anything else."""
    asked = (obj["metadata"].get("annotations") or {}).get(ANNOTATION)
    mode = asked or (obj.get("status") or {}).get("deploymentMode") or KNATIVE
    if mode not in _NAMES:
        raise SluiceError(f"annotation {ANNOTATION}: {mode!r}; expected {KNATIVE} or {STANDARD}")
    return _NAMES[mode]


def unchanged_mode(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Raise SluiceError when an update asks for another mode than the one the object is in."""
    before, after = deployment_mode(old), deployment_mode({**new, "status": old.get("status")})
    if before != after:
        raise SluiceError(f"update rejected: deploymentMode cannot be changed from {before!r} to {after!r}")


def workload_name(service: str, variant: str) -> str:
    """Name of the Deployment and Service of a predictor in Standard mode; ``variant``: ``predictor.name``, or ""."""
    return "-".join(filter(None, (service, variant, "predictor")))
