"""What a person asks of a live system: how does it stand, and take it back (`sluice status`, `sluice rollback`)."""

from typing import Any

from components.rollout.cluster import ClusterClient
from components.rollout.modes import observe
from components.rollout.settings import RolloutSettings
from components.rollout.undo import take_back
from components.rollout.watcher import RolloutWatcher
from serving.contract.errors import SluiceError


def status(system: str) -> dict[str, Any]:
    """How ``system`` stands: ready, url, the release at 100 % or under way, percent, traffic, and what lies behind it.

    Keys: system, deployed (bool); when deployed also mode (Knative or Standard), ready (bool), url, bundle, version,
    storage_uri, canary_percent (None unless a rollout is under way), restored (bool: came back by a rollback), traffic
    (list of revision, percent, url), history (list of bundle, version, storage_uri, newest first), failure ("" or why
    the newest revision is not ready), foreign ("" or how somebody else changed it). Raises SluiceError when no control
    plane answers.
    """
    cluster = ClusterClient()
    try:
        live = cluster.find(system)
    finally:
        cluster.close()
    if live is None:
        return {"system": system, "deployed": False}
    now = observe(live)
    return {
        "system": system,
        "deployed": True,
        "mode": now.mode,
        "ready": now.settled,
        "url": now.url,
        "bundle": now.release.bundle,
        "version": now.release.version,
        "storage_uri": now.release.uri,
        "canary_percent": now.percent,
        "restored": now.restored,
        "traffic": [{"revision": s.revision, "percent": s.percent, "url": s.url} for s in now.shares],
        "history": [{"bundle": r.bundle, "version": r.version, "storage_uri": r.uri} for r in now.history],
        "failure": now.failure,
        "foreign": now.foreign,
    }


def rollback(system: str, by: str = "", settings: RolloutSettings | None = None) -> str:
    """Take a system back to the release that was served before; returns one sentence that says what is served now.

    A canary under way is ended; without one, the release before the present one is restored, and the alias champion
    moves back with it. Users lose no request: the present revision answers until the restored one is ready (some 5 s).
    ``by`` names the person, for the record. Raises SluiceError when there is nothing to go back to.
    """
    settings, watch = settings or RolloutSettings(), RolloutWatcher()
    cluster = ClusterClient()
    try:
        now = observe(cluster.get(system))
        if now.foreign:
            raise SluiceError(
                f"InferenceService {system!r} was changed by somebody else: {now.foreign}; mend it by hand"
            )
        gone = now.release.version
        if now.percent is not None and not now.history and not now.restored:
            raise SluiceError(
                f"{system!r} is being deployed for the first time: nothing to go back to; delete it instead"
            )
        now = take_back(cluster, system, now, settings, watch)
    finally:
        cluster.close()
    _record(system, gone, now.release.version, by)
    return f"{system} serves version {now.release.version} again ({now.release.uri}); version {gone} is withdrawn"


def _record(system: str, gone: str, back: str, by: str) -> None:
    from components.common import registry
    from serving.contract.verdict import Verdict

    if not registry.exists():
        return
    reason = f"withdrawn by {by or 'a person'}; version {back} serves again"
    if gone != back:
        registry.record(system, gone, [Verdict("rollout", False, reason, {})])
    if back == registry.BASE:
        registry.demote(system)
    else:
        registry.promote(system, back)
