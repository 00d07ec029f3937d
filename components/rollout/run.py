"""Roll a release out: canary, windows of load, promotion or rollback. Takes up a rollout that was killed."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from components.rollout.cluster import ClusterClient, SomebodyElse
from components.rollout.decide import Decision, Move, decide
from components.rollout.manifests import Manifests
from components.rollout.modes import first, observe, promoted, with_canary, with_percent
from components.rollout.objects import Observed, ServedRelease
from components.rollout.settings import RolloutSettings
from components.rollout.undo import NotRestored, take_back
from components.rollout.watcher import RolloutWatcher
from components.rollout.window import Load, LoadWindow, alone, own_load, second_look, through_split
from serving.contract.errors import SluiceError
from serving.contract.verdict import Verdict


@dataclass
class RolloutOutcome:
    """How a rollout ended: promoted or not, why, every verdict with its window."""

    promoted: bool
    reason: str
    windows: list[LoadWindow] = field(default_factory=list)
    others: list[Verdict] = field(default_factory=list)
    changed: bool = True

    @property
    def verdicts(self) -> list[Verdict]:
        """All verdicts in order."""
        return [v for window in self.windows for v in window.verdicts] + self.others


class Rollout:
    """One run of a rollout. ``manifests`` and ``cluster`` say what is applied and where."""

    def __init__(
        self,
        system: str,
        manifests: Manifests,
        cluster: ClusterClient,
        load: Load,
        watch: RolloutWatcher,
        champion: Callable[[], None],
    ) -> None:
        self.system, self.manifests, self.cluster = system, manifests, cluster
        self.load, self.watch, self.champion = load, watch, champion
        self.settings: RolloutSettings = load.settings
        self.steps = self.settings.steps
        self.outcome = RolloutOutcome(False, "")
        self.known: Observed | None = None  # as we left it; None until this release is there

    def run(self, bundle: str, version: str, uri: str) -> RolloutOutcome:
        """Bring the bundle to 100 %, or back out.

        Args:
            bundle: content digest of the bundle.
            version: its version in the registry.
            uri: where the cluster finds it, e.g. file:///… on a laptop.

        Every failure after the canary has started rolls back, also one of the load test itself; a release that was
        changed by somebody else meanwhile is left as it is.
        """
        for _ in range(4):
            live = self.cluster.find(self.system)
            now = observe(live) if live else None
            decision = decide(now, bundle, self.settings.steps)
            if now is None or decision.move in (Move.CREATE, Move.START, Move.RESUME):
                return self._forward(now, decision, bundle, version, uri)
            if decision.move is Move.DONE:
                return self._done(now, decision)
            if decision.move is Move.REFUSE:
                return self._end(False, decision.reason)
            self.watch.say(f"{decision.move.value}: {decision.reason}", 0)
            try:
                take_back(self.cluster, self.system, now, self.settings, self.watch)
            except NotRestored as error:
                # What it came back to starts no more (its files are gone, the server is newer): a new release is the
                # way out, at 0 % until it is ready, since the revision before the restored one is a bad one.
                live_now = observe(self.cluster.get(self.system))
                return self._forward(live_now, Decision(Move.START, str(error)), bundle, version, uri)
            if now.release.bundle == bundle and decision.move is Move.UNDO:
                return self._end(False, f"rolled back: {decision.reason}; finished that")
        return self._end(False, "the InferenceService keeps changing; see `sluice status`")

    def _done(self, now: Observed, decision: Decision) -> RolloutOutcome:
        if not now.settled:
            now = self.cluster.wait(now, self.system, lambda o: o.settled, self.settings.ready_s)
        self.outcome.changed = False
        if not now.settled:
            return self._end(False, f"{decision.reason}, but not ready: {now.failure or 'no reason given'}")
        return self._end(True, decision.reason)

    def _forward(self, now: Observed | None, decision: Decision, bundle: str, version: str, uri: str) -> RolloutOutcome:
        self.watch.say(decision.reason)
        first_time = now is None or not now.history and now.percent == 100
        try:
            if now is None:
                now = self._create(bundle, version, uri)
            elif decision.move is Move.START:
                now = self._start(now, bundle, version, uri)
            self.known = now
            self._steps(self._await(now, now.percent or 0, "ready"))
        except SomebodyElse as error:
            self.outcome.others.append(Verdict("rollout", False, str(error), {}))
            return self._end(False, str(error))
        except _Failed as failure:
            return self._back_out(first_time, failure.reason)
        except Exception as error:  # whatever it is, the canary must not stay
            undone = self._back_out(first_time, f"the rollout itself failed: {error}")
            if isinstance(error, SluiceError):
                return undone
            raise
        reason = f"promoted to 100 %: {bundle} (version {version})"
        self.outcome.others.append(Verdict("rollout", True, reason, {"canary_percent": 100}))
        return self._end(True, reason)

    def _create(self, bundle: str, version: str, uri: str) -> Observed:
        release = self._release(bundle, version, uri)
        self.watch.say("created the InferenceService", 100)
        return observe(self.cluster.create(first(self.manifests.service, release)))

    def _start(self, now: Observed, bundle: str, version: str, uri: str) -> Observed:
        release = self._release(bundle, version, uri)
        if why := self._down(now):
            self.watch.say(f"stable does not answer ({why}): nobody to compare with, so straight to 100 %")
            self.steps = (100,)
        percent = 0 if now.percent == 0 else self.steps[0]
        manifest = self.manifests.service
        started = self.cluster.change(now, self.system, lambda live: with_canary(live, manifest, release, percent))
        self.watch.say(f"canary of version {version} asked for at {percent} %")
        return started

    def _down(self, now: Observed) -> str:
        """Why stable does not answer and does not come back by itself (after a restart it takes seconds); or ""."""
        began = time.monotonic()
        while not now.routed:
            if time.monotonic() - began > (self.settings.settle_s if now.failure else self.settings.ready_s):
                return now.failure or "no reason given"
            time.sleep(0.5)
            now = observe(self.cluster.get(self.system))
        return ""

    def _release(self, bundle: str, version: str, uri: str) -> ServedRelease:
        runtime = self.cluster.ensure_runtime(self.manifests.runtime)
        return ServedRelease(bundle, version, self.manifests.predictor(uri, runtime))

    def _await(self, now: Observed, percent: int, what: str) -> Observed:
        """Wait until the newest revision is ready and has its share of the traffic."""
        patience = self.settings.ready_s if what == "ready" else self.settings.settle_s

        def there(seen: Observed) -> bool:
            share = seen.share(seen.created)
            return seen.settled and share is not None and share.percent == percent

        began = time.monotonic()
        with self.watch.bar(f"waiting until the canary is {what}", patience) as tick:
            seen = self.cluster.wait(now, self.system, there, patience, tick)
        if not there(seen):
            why = seen.failure or f"not {what} within {patience:.0f} s"
            raise _Failed(f"the canary never got {what}: {why}")
        self.watch.opened_at = self.watch.opened_at or time.time()
        self.watch.say(f"{seen.created} {what} after {time.monotonic() - began:.1f} s", percent)
        return seen

    def _steps(self, now: Observed) -> None:
        steps = [step for step in self.steps if step >= (now.percent or 0)]
        for number, step in enumerate(steps):
            if now.percent != step:
                self.known = self.cluster.change(now, self.system, partial(with_percent, percent=step))
                now = self._await(self.known, step, f"at {step} %")
            if step < 100 and number == 0:
                self._judge(own_load, now)
            self._judge(through_split if step < 100 else alone, now)
        self.champion()
        now = self.cluster.change(now, self.system, promoted)
        with suppress(SomebodyElse):  # it is theirs from here on
            now = self.cluster.wait(now, self.system, lambda seen: seen.settled, self.settings.ready_s)
        self.watch.say(f"{now.created or self.system} has all traffic; the rollout is over", 100)

    def _judge(self, look: Callable[[Load, Observed, RolloutWatcher], LoadWindow], now: Observed) -> None:
        load, left = self.load, {"again": self.settings.repeats, "longer": self.settings.longer}
        window = look(load, now, self.watch)
        while left.get(why := second_look(window.verdicts, load.test.slo), 0):
            left[why] -= 1
            missed = "; ".join(v.reason for v in window.verdicts if not v.passed)
            if why == "longer":
                load = replace(load, stretch=2 * load.stretch)
                self.watch.say(f"a window of {load.settings.window_s * load.stretch:g} s is needed: {missed}")
            else:
                self.watch.say(f"looking again, nothing but speed was missed: {missed}")
            window = look(load, now, self.watch)
        self.outcome.windows.append(window)
        for verdict in window.verdicts:
            self.watch.say(f"{'passed' if verdict.passed else 'FAILED'} {verdict.gate}: {verdict.reason}")
        failed = [verdict.reason for verdict in window.verdicts if not verdict.passed]
        if failed:
            raise _Failed(f"{window.name}: {'; '.join(failed)}")

    def _back_out(self, first_time: bool, reason: str) -> RolloutOutcome:
        self.outcome.others.append(Verdict("rollout", False, reason, {}))
        self.watch.say(f"rolling back: {reason}")
        try:
            if self.known is not None and first_time:
                # Nothing served before, so there is nothing to go back to: a model that missed its gate stays away.
                self.cluster.delete(self.known, self.system)
                self.watch.withdrawn_at = time.time()
                self.watch.say("deleted the InferenceService: there was no release before it", 0)
            elif self.known is not None:
                take_back(self.cluster, self.system, self.known, self.settings, self.watch)
        except SluiceError as error:
            reason = f"{reason}; and rolling back stopped: {error}"
        return self._end(False, f"rolled back: {reason}")

    def _end(self, promoted: bool, reason: str) -> RolloutOutcome:
        self.watch.say(reason)
        self.outcome.promoted, self.outcome.reason = promoted, reason
        return self.outcome


class _Failed(Exception):
    """A gate said no, or the canary never got there."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
