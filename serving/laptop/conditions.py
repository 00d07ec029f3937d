"""What the status of an InferenceService is made of in both of KServe's modes: conditions, and how the model stands."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serving.laptop.predictor import Predictor
from serving.laptop.store import now
from serving.laptop.template import RuntimeMissing

_WHOLE = ("Ready", "PredictorReady", "IngressReady")


@dataclass(frozen=True)
class Condition:
    """True, False or Unknown, and why."""

    status: str
    reason: str = ""
    message: str = ""


def entry(kind: str, condition: Condition, old: Mapping[str, Any] | None) -> dict[str, str]:
    """A condition as it stands in the status; the time of ``old`` stays when nothing else changed.

    Kinds that do not decide about Ready have the severity Info.
    """
    made = {"type": kind, "status": condition.status}
    if condition.reason:
        made["reason"] = condition.reason
    if condition.message:
        made["message"] = condition.message
    if kind not in _WHOLE:
        made["severity"] = "Info"
    same = old is not None and {k: v for k, v in old.items() if k != "lastTransitionTime"} == made
    made["lastTransitionTime"] = old["lastTransitionTime"] if same and old else now()
    return made


def worst(*conditions: Condition) -> Condition:
    """The condition that decides about all of them."""
    return min(conditions, key=lambda c: ("False", "Unknown", "True").index(c.status))


def model_status(
    latest: Predictor | None, problem: RuntimeMissing | None, copies: int, old: Mapping[str, Any]
) -> dict[str, Any]:
    """``modelStatus``: of the newest process, with ``copies`` that answer; ``old`` keeps the last failure."""
    failed = latest is not None and bool(latest.failure)
    ready = latest is not None and latest.state == "ready"
    transition = "BlockedByFailedLoad" if failed else "UpToDate" if ready else "InProgress"
    target = "FailedToLoad" if failed else "Loaded" if ready else "Loading"
    failure = old.get("lastFailureInfo")
    if problem is not None:
        transition, target = "InvalidSpec", "FailedToLoad"
        failure = {"reason": problem.reason, "message": str(problem)}
    elif latest is not None and latest.failure:
        failure = {
            "reason": "ModelLoadFailed",
            "message": latest.failure,
            "modelRevisionName": latest.revision,
            "exitCode": latest.exit_code,
            "time": latest.failed_at,
        }
    made = {
        "transitionStatus": transition,
        "states": {"activeModelState": "Loaded" if copies else "Pending", "targetModelState": target},
        "copies": {"failedCopies": int(failed), "totalCopies": copies},
    }
    return {**made, "lastFailureInfo": failure} if failure else made
