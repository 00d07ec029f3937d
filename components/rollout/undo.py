"""Back to what was served before, in the order that KServe needs: no traffic, the old release, then the end."""

import time
from functools import partial

from components.rollout.cluster import ClusterClient
from components.rollout.modes import of, promoted, with_percent, with_previous
from components.rollout.objects import Observed
from components.rollout.settings import RolloutSettings
from components.rollout.watcher import RolloutWatcher
from serving.contract.errors import SluiceError


class NotRestored(SluiceError):
    """The old release does not get ready."""


def take_back(
    cluster: ClusterClient, system: str, now: Observed, settings: RolloutSettings, watch: RolloutWatcher
) -> Observed:
    """Roll back, or finish a rollback from wherever it stands; returns the object after it.

    1. The canary gets 0 %: from here on stable answers everything. 2. In Knative mode the old predictor comes back at
    0 %, as a new revision; taking canaryTrafficPercent away before that would promote the bad one. In Standard mode
    stable was never touched, and the canary goes. Without a canary under way, the release before the present one comes
    back beside it. 3. Once what comes back is ready, it takes over. Raises NotRestored when it does not get ready; what
    served until then still does, and the next run goes on here.
    """
    under_way = now.percent is not None
    if under_way and now.percent and not now.restored:
        now = cluster.change(now, system, partial(with_percent, percent=0))
        watch.withdrawn_at = time.time()
        watch.say("canary at 0 %, stable answers everything", 0)
        now = _shown(cluster, system, now, settings)
    if not (under_way and now.restored):
        if not now.history:
            raise SluiceError(f"{system!r} has no release before version {now.release.version}: nothing to go back to")
        now = cluster.change(now, system, with_previous)
        watch.say(f"restoring {now.release.bundle} (version {now.release.version})")
    return _take_over(cluster, system, now, settings, watch)


def _take_over(
    cluster: ClusterClient, system: str, now: Observed, settings: RolloutSettings, watch: RolloutWatcher
) -> Observed:
    """Wait for the restored release, and give it all the traffic where it does not get that by itself."""
    began = time.monotonic()

    def there(seen: Observed) -> bool:
        return seen.settled and (seen.percent is not None or seen.rolled_out == seen.ready)

    seen = cluster.wait(now, system, there, settings.ready_s)
    if not there(seen):
        why = seen.failure or f"not ready within {settings.ready_s:.0f} s"
        raise NotRestored(
            f"the restored release (version {now.release.version}) of {system!r} does not start: {why}; "
            "what served before still does"
        )
    if seen.percent is not None:
        for percent in of(seen).HANDOVER:
            seen = cluster.change(seen, system, partial(with_percent, percent=percent))
            seen = _shown(cluster, system, seen, settings)
        seen = cluster.change(seen, system, promoted)
    watch.say(f"{seen.created} restored after {time.monotonic() - began:.1f} s", 0)
    return seen


def _shown(cluster: ClusterClient, system: str, now: Observed, settings: RolloutSettings) -> Observed:
    """Wait until the controller has acted on the split, and the traffic follows it."""
    seen = cluster.wait(now, system, lambda o: o.seen >= o.generation, settings.settle_s)
    time.sleep(of(seen).PAUSE_S)
    return seen
