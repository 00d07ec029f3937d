"""The one place that picks how an InferenceService is rolled out: KServe's Knative mode or its Standard mode."""

import os
from typing import Protocol

from components.rollout import knative, standard
from components.rollout.objects import Object, Observed, ServedRelease
from serving.contract.errors import SluiceError
from serving.contract.modes import KNATIVE, STANDARD, deployment_mode

VARIABLE = "SLUICE_DEPLOYMENT_MODE"


class Mode(Protocol):
    """What a mode knows: its edits are pure functions from a live object to the one to replace it with.

    ``HANDOVER``: percents that a release passes through before it is promoted from 0 %. ``PAUSE_S``: seconds between a
    status that shows a split and the traffic that follows it.
    """

    HANDOVER: tuple[int, ...]
    PAUSE_S: float

    def adapted(self, manifest: Object) -> Object:
        """The manifest as this mode needs it."""

    def adapted_runtime(self, manifest: Object, domain: str) -> Object:
        """The ServingRuntime as this mode needs it; ``domain`` is the gateway's, "" if unknown."""

    def observe(self, live: Object) -> Observed:
        """Read a live InferenceService."""

    def first(self, manifest: Object, release: ServedRelease) -> Object:
        """A first deployment, marked as one that has passed no gate."""

    def with_canary(self, live: Object, manifest: Object, release: ServedRelease, percent: int) -> Object:
        """``release`` as canary; what was rolled out heads the history."""

    def with_percent(self, live: Object, percent: int) -> Object:
        """The canary at another percent; nothing else changes."""

    def with_previous(self, live: Object) -> Object:
        """The release before, on its way back; the percent stays, or 0 where that needs one."""

    def promoted(self, live: Object) -> Object:
        """The newest release has all traffic, and the rollout is over."""


_MODES: dict[str, Mode] = {KNATIVE: knative, STANDARD: standard}


def of(obj: Object | Observed) -> Mode:
    """The mode of a live object, a manifest or what was observed."""
    return _MODES[obj.mode if isinstance(obj, Observed) else deployment_mode(obj)]


def fitting(service: Object, runtime: Object, live: Object | None) -> tuple[Object, Object]:
    """Both manifests in the mode to roll out in: ``$SLUICE_DEPLOYMENT_MODE``, else the live object's, else their own.

    Raises SluiceError where the variable names no mode, or another than the live object's: KServe cannot change that.
    """
    name = service["metadata"]["name"]
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in _MODES:
        raise SluiceError(f"{VARIABLE}={asked!r}: expected {' or '.join(_MODES)}, or nothing for the manifest's")
    mode = asked or deployment_mode(live or service)
    if live and deployment_mode(live) != mode:
        raise SluiceError(
            f"InferenceService {name!r} runs in {deployment_mode(live)} mode and {VARIABLE} asks for {mode}: KServe "
            f"cannot change the mode of a live object; unset {VARIABLE}, or delete the InferenceService (its address "
            "goes with it) and roll out again"
        )
    chosen = _MODES[mode]
    return chosen.adapted(service), chosen.adapted_runtime(runtime, os.environ.get("SLUICE_DOMAIN", ""))


def observe(live: Object) -> Observed:
    """Read a live InferenceService."""
    return of(live).observe(live)


def first(manifest: Object, release: ServedRelease) -> Object:
    """A first deployment."""
    return of(manifest).first(manifest, release)


def with_canary(live: Object, manifest: Object, release: ServedRelease, percent: int) -> Object:
    """The live object with ``release`` as canary at ``percent``."""
    return of(live).with_canary(live, manifest, release, whole_percent(percent))


def with_percent(live: Object, percent: int) -> Object:
    """The live object with its canary at another percent."""
    return of(live).with_percent(live, whole_percent(percent))


def with_previous(live: Object) -> Object:
    """The live object with the release before the present one on its way back."""
    return of(live).with_previous(live)


def promoted(live: Object) -> Object:
    """The live object with its newest release at 100 % and no rollout under way."""
    return of(live).promoted(live)


def whole_percent(percent: object, place: str = "percent") -> int:
    """``percent`` if it is a whole number from 0 to 100, which KServe's webhook does not check; else SluiceError."""
    if isinstance(percent, bool) or not isinstance(percent, int) or not 0 <= percent <= 100:
        raise SluiceError(f"{place}: {percent!r} is no percentage; expected a whole number from 0 to 100")
    return percent
