"""A rollout in KServe's Standard mode: stable and canary are predictors of their own, each with its Deployment.

Pure functions from a live object to what it says, and to what it should be next. Three of KServe's rules shape them:

- An annotation or label of the object is in every pod template, so changing one restarts stable as well. What a release
  needs to be remembered by is kept in its own predictor's annotations, which go with it from canary to stable.
- A canary is laid over stable, so a key that only stable has is in the canary's pods too, and its promotion would
  restart them: all annotations are always there.
- A Deployment that is not in the spec any more is deleted before the route is changed, so that nothing may be removed
  while it has traffic: 100 % comes before a promotion, 0 % before a removal.
"""

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

from components.rollout.objects import (
    BUNDLE,
    HISTORY,
    KEPT,
    PREFIX,
    RESTORED,
    URI,
    VERSION,
    Object,
    Observed,
    ServedRelease,
    Share,
    failure_of,
    foreign,
    history_of,
    notes_of,
)
from serving.contract.errors import SluiceError
from serving.contract.modes import ANNOTATION, SCALING, STANDARD, deployment_mode, workload_name

HANDOVER: tuple[int, ...] = (100,)
# The status says when the route was written, and nothing says when the gateway follows: it takes well under a second.
PAUSE_S = 1.0
# On the object: a first deployment that has passed no gate yet. Taking it away restarts the pods one by one, once.
PROVING, SCALED = PREFIX + "proving", PREFIX + "scaling"
REVISION = "K_REVISION"  # what Knative sets in its containers: the name that answers and metrics carry
_NOTES = {BUNDLE, VERSION, URI, HISTORY, RESTORED, SCALED}
_COUNTED = ("minReplicas", *SCALING)


def adapted(manifest: Object) -> Object:
    """The manifest of either mode, made one of this mode, as manifests/components/standard does.

    What only Knative reads goes; CPU takes over as the scale; an update keeps every pod until its successor is ready.
    """
    made = copy.deepcopy(manifest)
    if deployment_mode(manifest) == STANDARD:
        return made
    notes = made["metadata"].get("annotations") or {}
    kept = {k: v for k, v in notes.items() if "knative.dev/" not in k and k != "serving.kserve.io/enable-tag-routing"}
    made["metadata"]["annotations"] = {"serving.kserve.io/autoscalerClass": "hpa", **kept, ANNOTATION: STANDARD}
    predictor = made["spec"]["predictor"]
    predictor.pop("containerConcurrency", None)
    if predictor.get("scaleMetric", "concurrency") in ("concurrency", "rps"):
        predictor |= {"scaleMetric": "cpu", "scaleTarget": 70}
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    predictor.setdefault("deploymentStrategy", rolling)
    return made


def adapted_runtime(manifest: Object, domain: str) -> Object:
    """The ServingRuntime with peers behind the gateway at ``domain``, where one is named.

    The Service of a promoted predictor is named after it, so only the gateway's address stays the same.
    """
    if not domain:
        return manifest
    made = copy.deepcopy(manifest)
    for variable in (v for c in made["spec"]["containers"] for v in c.get("env") or [] if v["name"] == "SLUICE_PEERS"):
        variable["value"] = f"http://{{name}}-{{{{.Namespace}}}}.{domain}"
    return made


def observe(live: Object) -> Observed:
    """Read a live InferenceService."""
    meta, spec, status = live["metadata"], live["spec"], live.get("status") or {}
    canaries, stable = spec.get("canary") or [], spec["predictor"]
    canary = canaries[0] if canaries else None
    newest = _as_stable(canary["predictor"]) if canary else stable
    notes = newest.get("annotations") or {}
    release = _release(newest)
    told = {c["name"]: c for c in status.get("canaryStatuses") or []}
    shown = told.get(canary["predictor"]["name"], {}) if canary else {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    names = tuple(workload_name(meta["name"], p.get("name", "")) for p in (newest, stable))
    # observedGeneration is that of stable's Deployment here; only the list of canaries tells what was acted on.
    acted = "PredictorReady" in conditions and _acted(canaries, told)
    answers = conditions.get("PredictorReady") == "True"
    ready = names[0] if canary and shown.get("ready") else names[1] if answers else ""
    proving = 100 if PROVING in (meta.get("annotations") or {}) else None
    return Observed(
        mode=STANDARD,
        generation=int(meta.get("generation", 0)),
        seen=int(meta.get("generation", 0)) - (not acted),
        release=release,
        foreign=_foreign(canaries, stable) or foreign(notes, release),
        percent=canary["trafficPercent"] if canary else proving,
        history=history_of(notes),
        restored=notes.get(RESTORED) == "true",
        created=names[0],
        ready=ready,
        rolled_out=names[1] if answers else "",
        shares=_shares(meta["name"], names, shown, answers, status),
        url=status.get("url", ""),
        failure=failure_of(shown if canary else status),
        routed=all(conditions.get(kind, "True") == "True" for kind in ("PredictorReady", "IngressReady")),
    )


def _acted(canaries: list[Any], told: Mapping[str, Any]) -> bool:
    asked = {c["predictor"]["name"]: c["trafficPercent"] for c in canaries}
    return asked == {name: c.get("trafficPercent") for name, c in told.items()}


def _foreign(canaries: list[Any], stable: Mapping[str, Any]) -> str:
    if len(canaries) > 1:
        return f"it has {len(canaries)} canaries, and a rollout has one"
    return foreign(stable.get("annotations") or {}, _release(stable)) if canaries else ""


def _shares(
    service: str, names: tuple[str, ...], shown: Mapping[str, Any], answers: bool, status: Mapping[str, Any]
) -> tuple[Share, ...]:
    """The route as KServe weighs it, if there is one: a canary takes part once it is ready, stable has the rest."""
    newest, stable = names
    if not status.get("url"):
        return ()
    percent = int(shown.get("trafficPercent", 0)) if shown.get("ready") else 0
    address = (status.get("address") or {}).get("url", "")
    found = [Share(newest, percent, True, _own(service, newest, address))] if shown.get("ready") else []
    if answers:
        found.append(Share(stable, 100 - percent, not found, _own(service, stable, address)))
    return tuple(found)


def _own(service: str, workload: str, address: str) -> str:
    """A predictor's own address inside the cluster: the object's with its Service's name in it; "" if unknown."""
    named = rf"(^|/){re.escape(service)}(-[-a-z0-9]+)?-predictor(?=[./:]|$)"
    made, found = re.subn(named, rf"\g<1>{workload}", address)
    return made if found else ""


def first(manifest: Object, release: ServedRelease) -> Object:
    """A first deployment, with a mark on it that no gate has passed yet."""
    made = copy.deepcopy(manifest)
    made["metadata"]["annotations"] = {**(manifest["metadata"].get("annotations") or {}), PROVING: "true"}
    made["spec"]["predictor"] = _dressed(made["metadata"]["name"], release, (), restored=False)
    return made


def with_canary(live: Object, manifest: Object, release: ServedRelease, percent: int) -> Object:
    """The live object with ``release`` as canary at ``percent``; stable, and the object's metadata, stay as they are.

    The manifest's annotations and labels are therefore those of the first deployment; a predictor's own come with it.
    """
    stable = live["spec"]["predictor"]
    history = (_release(_rested(stable)), *history_of(stable.get("annotations") or {}))[:KEPT]
    return _with(live, _dressed(live["metadata"]["name"], release, history, restored=False), percent)


def with_percent(live: Object, percent: int) -> Object:
    """The live object with its canary at another trafficPercent."""
    if not live["spec"].get("canary"):
        raise SluiceError(f"InferenceService {live['metadata']['name']!r} has no canary to give {percent} % to")
    return _with(live, live["spec"]["canary"][0]["predictor"], percent)


def promoted(live: Object) -> Object:
    """The live object with its canary as stable, under the same name, so that its pods stay; or a first one proven."""
    made = copy.deepcopy(live)
    canary = made["spec"].pop("canary", None)
    if canary:
        made["spec"]["predictor"] = _as_stable(canary[0]["predictor"])
    (made["metadata"].get("annotations") or {}).pop(PROVING, None)
    return made


def with_previous(live: Object) -> Object:
    """The live object on its way back: without its canary, or else with the release before as canary at 0 %."""
    made = copy.deepcopy(live)
    if made["spec"].pop("canary", None):
        made["spec"]["predictor"] = _rested(made["spec"]["predictor"])
        return made
    back, *older = history_of(live["spec"]["predictor"].get("annotations") or {})
    return _with(live, _dressed(live["metadata"]["name"], back, tuple(older), restored=True), 0)


def _with(live: Object, predictor: Mapping[str, Any], percent: int) -> Object:
    # KServe gives a canary its share of stable's replicas, none at 0 %: there it needs one to get ready with. More than
    # stable's are refused, and a share of none is none: beside a canary stable keeps a replica as well.
    made = copy.deepcopy(live)
    if made["spec"]["predictor"].get("minReplicas") == 0:
        made["spec"]["predictor"]["minReplicas"] = 1
    own = {k: copy.deepcopy(v) for k, v in predictor.items() if k not in _COUNTED}
    made["spec"]["canary"] = [
        {"predictor": own | ({} if percent else {"minReplicas": 1}), "trafficPercent": percent},
    ]
    return made


def _dressed(service: str, release: ServedRelease, history: tuple[ServedRelease, ...], restored: bool) -> Object:
    """A release's predictor with its name, its notes, and its revision's name for the server to tell."""
    made = copy.deepcopy(dict(release.predictor))
    made["name"] = "r-" + re.sub("[^a-z0-9]", "", release.bundle.lower())[:12]
    counted = json.dumps({k: made[k] for k in _COUNTED if k in made}, sort_keys=True)
    made["annotations"] = {
        **(made.get("annotations") or {}),
        **notes_of(release, history, restored),
        SCALED: counted,
    }
    revision = {"name": REVISION, "value": workload_name(service, made["name"])}
    # The CRD requires a name on a canary's model, and the webhook refuses one on stable's, which it becomes: so, empty.
    made["model"] = {**made["model"], "name": "", "env": [*(made["model"].get("env") or []), revision]}
    return made


def _as_stable(canary: Mapping[str, Any]) -> Object:
    """A canary's predictor with the replicas and the scaling that its manifest asked for."""
    own = {k: copy.deepcopy(v) for k, v in canary.items() if k not in _COUNTED}
    return own | json.loads((canary.get("annotations") or {}).get(SCALED, "{}"))


def _rested(stable: Mapping[str, Any]) -> Object:
    """Stable's predictor as it is without a canary beside it: down to no replica again, where its manifest says so."""
    asked = json.loads((stable.get("annotations") or {}).get(SCALED, "{}")).get("minReplicas")
    return {**stable, "minReplicas": 0} if asked == 0 and stable.get("minReplicas") == 1 else dict(stable)


def _release(predictor: Mapping[str, Any]) -> ServedRelease:
    """The reverse of `_dressed`."""
    notes = predictor.get("annotations") or {}
    made: Object = {k: copy.deepcopy(v) for k, v in predictor.items() if k not in ("name", "annotations")}
    if own := {k: v for k, v in notes.items() if k not in _NOTES}:
        made["annotations"] = own
    model = made.get("model", {})
    model.pop("name", None)
    if env := [v for v in model.pop("env", []) if v["name"] != REVISION]:
        model["env"] = env
    return ServedRelease(notes.get(BUNDLE, ""), notes.get(VERSION, ""), made)
