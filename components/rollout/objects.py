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
class ServedRelease:
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

    ``mode`` is KServe's deployment mode. ``generation`` counts changes of the spec, ``seen`` the last of them that the
    controller acted on. ``percent`` is the canary's: while there is one, a rollout is under way (0: it is being rolled
    back). ``history`` holds the releases rolled out before this one, newest first; ``restored``: this release came back
    by a rollback. A revision is Knative's, or in Standard mode a predictor's Deployment. ``routed``: every revision
    that has traffic answers.
    """

    mode: str
    generation: int
    seen: int
    release: ServedRelease
    foreign: str
    percent: int | None
    history: tuple[ServedRelease, ...]
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


def notes_of(release: ServedRelease, history: tuple[ServedRelease, ...], restored: bool) -> dict[str, str]:
    """The annotations in which a live object remembers its release and those before it."""
    made = {BUNDLE: release.bundle, VERSION: release.version, URI: release.uri}
    made[HISTORY] = json.dumps([asdict(old) for old in history], sort_keys=True)
    return {**made, RESTORED: "true" if restored else "false"}


def history_of(notes: Mapping[str, str]) -> tuple[ServedRelease, ...]:
    """The releases before this one, newest first, from its annotations."""
    return tuple(ServedRelease(**row) for row in json.loads(notes.get(HISTORY, "[]")))


def foreign(notes: Mapping[str, str], release: ServedRelease) -> str:
    """How somebody else changed what was rolled out, "" where nobody did."""
    if BUNDLE not in notes:
        return f"it carries no annotation {BUNDLE}, so it was not rolled out by this project"
    if notes.get(URI) != release.uri:
        return f"its storageUri is {release.uri!r}, but {notes.get(URI)!r} was rolled out"
    return ""


def failure_of(status: Mapping[str, Any]) -> str:
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


def spec_digest(manifest: Object) -> str:
    """Eight hex digits over an object's spec."""
    return hashlib.sha256(json.dumps(manifest["spec"], sort_keys=True).encode()).hexdigest()[:8]
