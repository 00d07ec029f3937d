"""Back to what was served before, in KServe's order: no traffic, the old release, then the percent away."""

import time

from components.rollout.cluster import Cluster
from components.rollout.objects import Observed, with_percent, with_previous
from components.rollout.settings import RolloutSettings
from components.rollout.watcher import Watcher
from serving.errors import SluiceError


class NotRestored(SluiceError):
    """The old release does not get ready."""


def take_back(cluster: Cluster, system: str, now: Observed, settings: RolloutSettings, watch: Watcher) -> Observed:
    """Finish a rollback from wherever it stands; returns the object after it.

    1. canaryTrafficPercent 0: from here on stable answers everything. 2. The old storageUri, still at 0: a new revision
    of the old release starts. 3. Once it is ready the field goes, and it takes over. Taking the field away before would
    promote the bad revision. Raises NotRestored when the old release does not get ready; stable then keeps all traffic,
    and the next run goes on here.
    """
    if now.percent != 0:
        now = cluster.change(now, system, lambda live: with_percent(live, 0))
        watch.withdrawn_at = time.time()
        watch.say("canary at 0 %, stable answers everything", 0)
    if not now.restored:
        if not now.history:
            raise SluiceError(f"InferenceService {system!r} has no release before this one: nothing to go back to")
        now = cluster.change(now, system, with_previous)
        watch.say(f"restoring {now.release.bundle} (version {now.release.version})")
    began = time.monotonic()
    seen = cluster.wait(now, system, lambda o: o.settled, settings.ready_s)
    if not seen.settled:
        why = seen.failure or f"not ready within {settings.ready_s:.0f} s"
        raise NotRestored(
            f"the restored release of {system!r} does not start: {why}; stable keeps all traffic at 0 % canary"
        )
    now = cluster.change(now, system, lambda live: with_percent(live, None))
    watch.say(f"{seen.created} restored after {time.monotonic() - began:.1f} s", 0)
    return now
