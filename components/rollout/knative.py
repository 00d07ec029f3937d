"""A rollout in KServe's Knative mode: one predictor, whose revisions share the traffic by canaryTrafficPercent.

Pure functions from a live object to what it says, and to what it should be next.
"""

import copy
from collections.abc import Mapping
from typing import Any

from components.rollout.objects import (
    BUNDLE,
    KEPT,
    PREFIX,
    RESTORED,
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
from serving.contract.modes import KNATIVE, deployment_mode

# Knative holds traffic back by itself until a revision is ready, and keeps the old one until nothing goes there.
HANDOVER: tuple[int, ...] = ()
PAUSE_S = 0.0


def adapted(manifest: Object) -> Object:
    """The manifest, which must be one of this mode."""
    if deployment_mode(manifest) != KNATIVE:
        raise SluiceError(
            f"the manifest of {manifest['metadata']['name']!r} is for {deployment_mode(manifest)} mode, and Knative "
            "mode was asked for; name the Knative manifest (manifests/base), from which both can be made"
        )
    return manifest


def adapted_runtime(manifest: Object, domain: str) -> Object:
    """The ServingRuntime as it is: Knative gives every service a name that stays."""
    return manifest


def observe(live: Object) -> Observed:
    """Read a live InferenceService."""
    meta, predictor, status = live["metadata"], live["spec"]["predictor"], live.get("status") or {}
    notes = meta.get("annotations") or {}
    part = (status.get("components") or {}).get("predictor") or {}
    own = {k: v for k, v in predictor.items() if k != "canaryTrafficPercent"}
    release = ServedRelease(notes.get(BUNDLE, ""), notes.get(VERSION, ""), own)
    return Observed(
        mode=KNATIVE,
        generation=int(meta.get("generation", 0)),
        seen=int(status.get("observedGeneration", 0)),
        release=release,
        foreign=foreign(notes, release),
        percent=predictor.get("canaryTrafficPercent"),
        history=history_of(notes),
        restored=notes.get(RESTORED) == "true",
        created=part.get("latestCreatedRevision", ""),
        ready=part.get("latestReadyRevision", ""),
        rolled_out=part.get("latestRolledoutRevision", ""),
        shares=tuple(_share(entry) for entry in part.get("traffic") or []),
        url=status.get("url", ""),
        failure=failure_of(status),
        routed=all(c["status"] == "True" for c in status.get("conditions", []) if c["type"] == "RoutesReady"),
    )


def _share(entry: Mapping[str, Any]) -> Share:
    revision, percent = entry.get("revisionName", ""), int(entry.get("percent") or 0)
    return Share(revision, percent, bool(entry.get("latestRevision")), entry.get("url", ""))


def first(manifest: Object, release: ServedRelease) -> Object:
    """A first deployment. KServe ignores its percent; that it is there says that no gate has passed yet."""
    made = copy.deepcopy(manifest)
    made["metadata"]["annotations"] = _notes(manifest["metadata"].get("annotations") or {}, release, (), False)
    made["spec"]["predictor"] = {**release.predictor, "canaryTrafficPercent": 100}
    return made


def with_canary(live: Object, manifest: Object, release: ServedRelease, percent: int) -> Object:
    """The live object with ``release`` as canary at ``percent``; what was rolled out heads the history."""
    now = observe(live)
    history = (now.release, *now.history)[:KEPT]
    made = _edited(live, release, history, restored=False, extra=manifest["metadata"].get("annotations") or {})
    made["metadata"]["labels"] = {
        **(live["metadata"].get("labels") or {}),
        **(manifest["metadata"].get("labels") or {}),
    }
    made["spec"]["predictor"] = {**release.predictor, "canaryTrafficPercent": percent}
    return made


def with_percent(live: Object, percent: int) -> Object:
    """The live object with another canaryTrafficPercent."""
    made = copy.deepcopy(live)
    made["spec"]["predictor"]["canaryTrafficPercent"] = percent
    return made


def promoted(live: Object) -> Object:
    """The live object without canaryTrafficPercent: the newest revision takes all the traffic, and keeps it."""
    made = copy.deepcopy(live)
    made["spec"]["predictor"].pop("canaryTrafficPercent", None)
    return made


def with_previous(live: Object) -> Object:
    """The live object with the last release of its history restored; the percent stays as it is."""
    now = observe(live)
    back, *older = now.history
    made = _edited(live, back, tuple(older), restored=True, extra={})
    made["spec"]["predictor"] = dict(back.predictor)
    return made if now.percent is None else with_percent(made, now.percent)


def _edited(
    live: Object, release: ServedRelease, history: tuple[ServedRelease, ...], restored: bool, extra: Mapping[str, str]
) -> Object:
    made = copy.deepcopy(live)
    old = {k: v for k, v in (live["metadata"].get("annotations") or {}).items() if not k.startswith(PREFIX)}
    made["metadata"]["annotations"] = _notes({**old, **extra}, release, history, restored)
    return made


def _notes(
    notes: Mapping[str, str], release: ServedRelease, history: tuple[ServedRelease, ...], restored: bool
) -> dict[str, str]:
    # KServe copies annotations into the revision's template, so a change of one alone would start a new revision: all
    # of these change only together with the predictor, and a step of the canary changes none.
    return {**notes, **notes_of(release, history, restored)}
