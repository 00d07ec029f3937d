"""An InferenceService as the rollout sees it: pure functions from manifests and live objects to values, and back."""

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

Object = dict[str, Any]

PREFIX = "sluice.dev/"
BUNDLE, VERSION, URI = PREFIX + "bundle", PREFIX + "model-version", PREFIX + "storage-uri"
HISTORY, RESTORED, SPEC = PREFIX + "history", PREFIX + "restored", PREFIX + "spec"
KEPT = 5  # rolled out releases remembered for a rollback


@dataclass(frozen=True)
class Release:
    """One bundle on its way or served: content digest, version in the registry, the predictor that serves it."""

    bundle: str
    version: str
    predictor: Mapping[str, Any]

    @property
    def uri(self) -> str:
        """Where the bundle lies."""
        return str(self.predictor.get("model", {}).get("storageUri", ""))


@dataclass(frozen=True)
class Share:
    """``percent`` of all requests go to ``revision``; ``url`` is that revision's own address."""

    revision: str
    percent: int
    latest: bool
    url: str = ""


@dataclass(frozen=True)
class Observed:
    """What a live InferenceService says; "" and None where it says nothing.

    ``generation`` counts changes of the spec, ``seen`` the last of them that the controller acted on. ``percent`` is
    canaryTrafficPercent: while the field is there, a rollout is under way (0: it is being rolled back). ``history``
    holds the releases rolled out before this one, newest first; ``restored``: this release came back by a rollback.
    ``routed``: every revision that has traffic answers.
    """

    generation: int
    seen: int
    release: Release
    foreign: str
    percent: int | None
    history: tuple[Release, ...]
    restored: bool
    created: str
    ready: str
    rolled_out: str
    shares: tuple[Share, ...]
    url: str
    failure: str
    routed: bool

    @property
    def settled(self) -> bool:
        """The controller has seen the last change, and the newest revision is ready."""
        return self.seen >= self.generation and bool(self.created) and self.created == self.ready

    def share(self, revision: str) -> Share | None:
        """The traffic entry of a revision."""
        return next((s for s in self.shares if s.revision == revision), None)


def observe(live: Object) -> Observed:
    """Read a live InferenceService (Knative mode)."""
    meta, predictor, status = live["metadata"], live["spec"]["predictor"], live.get("status") or {}
    notes = meta.get("annotations") or {}
    part = (status.get("components") or {}).get("predictor") or {}
    own = {k: v for k, v in predictor.items() if k != "canaryTrafficPercent"}
    release = Release(notes.get(BUNDLE, ""), notes.get(VERSION, ""), own)
    return Observed(
        generation=int(meta.get("generation", 0)),
        seen=int(status.get("observedGeneration", 0)),
        release=release,
        foreign=_foreign(notes, release),
        percent=predictor.get("canaryTrafficPercent"),
        history=tuple(Release(**row) for row in json.loads(notes.get(HISTORY, "[]"))),
        restored=notes.get(RESTORED) == "true",
        created=part.get("latestCreatedRevision", ""),
        ready=part.get("latestReadyRevision", ""),
        rolled_out=part.get("latestRolledoutRevision", ""),
        shares=tuple(_share(entry) for entry in part.get("traffic") or []),
        url=status.get("url", ""),
        failure=_failure(status),
        routed=all(c["status"] == "True" for c in status.get("conditions", []) if c["type"] == "RoutesReady"),
    )


def _foreign(notes: Mapping[str, str], release: Release) -> str:
    if BUNDLE not in notes:
        return f"it carries no annotation {BUNDLE}, so it was not rolled out by this project"
    if notes.get(URI) != release.uri:
        return f"its storageUri is {release.uri!r}, but {notes.get(URI)!r} was rolled out"
    return ""


def _share(entry: Mapping[str, Any]) -> Share:
    revision, percent = entry.get("revisionName", ""), int(entry.get("percent") or 0)
    return Share(revision, percent, bool(entry.get("latestRevision")), entry.get("url", ""))


def _failure(status: Mapping[str, Any]) -> str:
    """Why the newest revision cannot become ready, where KServe has given up on it (modelStatus)."""
    model = status.get("modelStatus") or {}
    if model.get("transitionStatus") not in ("BlockedByFailedLoad", "InvalidSpec"):
        return ""
    info = model.get("lastFailureInfo") or {}
    lines = [line.strip() for line in str(info.get("message", "")).splitlines() if line.strip()]
    # A message may quote a whole traceback: its first and last line say what happened and why.
    told = " … ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else ""
    told = told if len(told) <= 500 else f"{told[:150]} … {told[-300:]}"
    return ": ".join(filter(None, (str(info.get("reason", "")), told))) or str(model["transitionStatus"])


def predictor_of(manifest: Object, uri: str, runtime: str) -> Object:
    """The manifest's predictor with the bundle's address and the runtime's name in it."""
    predictor: Object = copy.deepcopy(manifest["spec"]["predictor"])
    predictor.pop("canaryTrafficPercent", None)
    predictor["model"] |= {"storageUri": uri, "runtime": runtime}
    return predictor


def first(manifest: Object, release: Release) -> Object:
    """A first deployment. KServe ignores its percent; that it is there says that no gate has passed yet."""
    made = copy.deepcopy(manifest)
    made["metadata"]["annotations"] = _notes(manifest["metadata"].get("annotations") or {}, release, (), False)
    made["spec"]["predictor"] = {**release.predictor, "canaryTrafficPercent": 100}
    return made


def with_canary(live: Object, manifest: Object, release: Release, percent: int) -> Object:
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


def with_percent(live: Object, percent: int | None) -> Object:
    """The live object with another canaryTrafficPercent; None takes the field away."""
    made = copy.deepcopy(live)
    made["spec"]["predictor"].pop("canaryTrafficPercent", None)
    if percent is not None:
        made["spec"]["predictor"]["canaryTrafficPercent"] = percent
    return made


def with_previous(live: Object) -> Object:
    """The live object with the last release of its history restored; the percent stays as it is."""
    now = observe(live)
    back, *older = now.history
    made = _edited(live, back, tuple(older), restored=True, extra={})
    made["spec"]["predictor"] = dict(back.predictor)
    return with_percent(made, now.percent)


def _edited(
    live: Object, release: Release, history: tuple[Release, ...], restored: bool, extra: Mapping[str, str]
) -> Object:
    made = copy.deepcopy(live)
    old = {k: v for k, v in (live["metadata"].get("annotations") or {}).items() if not k.startswith(PREFIX)}
    made["metadata"]["annotations"] = _notes({**old, **extra}, release, history, restored)
    return made


def _notes(notes: Mapping[str, str], release: Release, history: tuple[Release, ...], restored: bool) -> dict[str, str]:
    # KServe copies annotations into the revision's template, so a change of one alone would start a new revision: all
    # of these change only together with the predictor, and a step of the canary changes none.
    made = {**notes, BUNDLE: release.bundle, VERSION: release.version, URI: release.uri}
    made[HISTORY] = json.dumps([asdict(old) for old in history], sort_keys=True)
    if restored:
        made[RESTORED] = "true"
    return made


def spec_digest(manifest: Object) -> str:
    """Eight hex digits over an object's spec."""
    return hashlib.sha256(json.dumps(manifest["spec"], sort_keys=True).encode()).hexdigest()[:8]
