"""One window of load on stable and canary at the same time, and the verdicts over it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.rollout.analyse import analyse, inconclusive
from components.rollout.compare import Votes
from components.rollout.objects import Observed
from components.rollout.settings import RolloutSettings
from components.rollout.watcher import RolloutWatcher
from load_tests.plan import LoadTarget
from load_tests.run import run_targets
from load_tests.slo import SLO, LoadTest, judge
from serving.contract.errors import SluiceError
from serving.contract.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd

SPLIT, CANARY, STABLE = "split", "canary", "stable"
_DIRECT_USERS = 6


@dataclass(frozen=True)
class LoadWindow:
    """What one window showed: a name for people, the canary's percent, who was who, the samples, the verdicts."""

    name: str
    percent: int
    canary: str
    stable: str
    samples: "pd.DataFrame"
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Load:
    """Who asks, and how much: the model's name, request rows, the SLO with its load, the rollout's settings.

    ``stretch``: how many times the settings' window a window is long.
    """

    model: str
    asked: Sequence[dict[str, Any]]
    test: LoadTest
    settings: RolloutSettings
    out: Path
    stretch: int = 1

    @property
    def rate(self) -> float:
        """Requests/s offered where the SLO's rate must be kept."""
        return self.settings.rate or self.test.load.rate or self.test.slo.requests_per_s * 1.2

    @property
    def users(self) -> int:
        """Users at once who offer it."""
        return self.settings.users or self.test.load.users

    @property
    def light(self) -> float:
        """Requests/s offered to each revision's own address beside that: enough samples, and a little over."""
        return self.settings.direct_rate or max(self.rate / 4, 1.6 * self.settings.min_samples / self.settings.window_s)

    def run(self, name: str, targets: list[LoadTarget], watch: RolloutWatcher) -> "pd.DataFrame":
        """Put the targets under load for one window."""
        seconds = self.settings.window_s * self.stretch
        place = self.out / name.replace(" %", "").replace(" ", "-")
        with watch.bar(name, seconds) as tick:
            return run_targets(targets, self.model, list(self.asked), seconds, place, self.test.load.timeout_s, tick)


def own_load(load: Load, now: Observed, watch: RolloutWatcher) -> LoadWindow:
    """The canary's own address under the whole of the SLO's load, while users' traffic goes on lightly beside it."""
    canary, stable = now.created, now.rolled_out
    share = now.share(canary)
    direct = LoadTarget(CANARY, share.url if share and share.url else now.url, load.users, load.rate)
    targets = [direct, _light(load, SPLIT, now.url)]
    percent = now.percent or 0
    samples = load.run(f"load on the canary itself at {percent} %", targets, watch)
    mine = samples[samples["target"] == CANARY]
    verdict = _at(judge(mine, load.test.slo, "on_canary_address"), percent)
    return LoadWindow("Canary under the whole load", percent, canary, stable, samples, (verdict,))


def through_split(load: Load, now: Observed, watch: RolloutWatcher) -> LoadWindow:
    """The SLO's load through the split, an equal light load on each revision's own address: SLO and canary analysis."""
    canary, stable, percent = now.created, now.rolled_out, now.percent or 0
    targets = [LoadTarget(SPLIT, now.url, load.users, load.rate)]
    for name, revision in ((CANARY, canary), (STABLE, stable)):
        share = now.share(revision)
        if share and share.url:
            targets.append(_light(load, name, share.url))
    samples = load.run(f"split at {percent} %", targets, watch)
    slo = load.test.slo
    verdicts = [_at(judge(samples[samples["target"] == SPLIT], slo, f"through_split_{percent}_percent"), percent)]
    sides = {name: of_revision(samples, revision, name) for name, revision in ((STABLE, stable), (CANARY, canary))}
    votes = votes_of(stable, canary, watch)
    verdicts.append(_at(analyse(sides[STABLE], sides[CANARY], slo, load.settings, votes), percent))
    return LoadWindow(f"Canary at {percent} %", percent, canary, stable, samples, tuple(verdicts))


def alone(load: Load, now: Observed, watch: RolloutWatcher) -> LoadWindow:
    """The release at 100 %: nobody beside it, so the SLO alone decides."""
    samples = load.run("at 100 %", [LoadTarget(SPLIT, now.url, load.users, load.rate)], watch)
    verdict = _at(judge(samples, load.test.slo, "at_100_percent"), 100)
    return LoadWindow("At 100 %", 100, now.created, "", samples, (verdict,))


def second_look(verdicts: Sequence[Verdict], slo: SLO) -> str:
    """What a window that did not pass deserves: "again", "longer" or "" (nothing, it failed for good).

    "again" where nothing but speed was missed, no error too many and no answer worse; "longer" where besides that the
    analysis could not tell.
    """
    failed = [v for v in verdicts if not v.passed]
    errors = [float(v) for f in failed if f.gate == "load" for n, v in f.figures.items() if n.startswith("error_rate_")]
    worse = {part for f in failed for part in str(f.figures.get("worse", "")).split(", ")}
    if not failed or worse - {"", "latency"} or any(rate > slo.error_rate for rate in errors):
        return ""
    return "longer" if any(map(inconclusive, failed)) else "again"


def votes_of(stable: str, canary: str, watch: RolloutWatcher) -> tuple[Votes, Votes] | None:
    """Users' votes on both revisions since the canary got its first traffic; None where they cannot be read."""
    from serving.feedback import votes_by_revision

    try:
        votes = votes_by_revision(watch.opened_at or watch.began)
    except SluiceError as error:
        watch.say(f"users' votes are not known: {error}")
        return None
    up, down = (votes[votes["vote"] == vote].set_index("revision")["votes"] for vote in ("up", "down"))
    return Votes(int(up.get(stable, 0)), int(down.get(stable, 0))), Votes(
        int(up.get(canary, 0)), int(down.get(canary, 0))
    )


def of_revision(samples: "pd.DataFrame", revision: str, target: str) -> "pd.DataFrame":
    """The requests that a revision answered or failed; one that nobody answered belongs to the address it went to."""
    named = samples["revision"] == revision
    return samples[named | ((samples["revision"] == "") & (samples["target"] == target))]


def _light(load: Load, name: str, url: str) -> LoadTarget:
    return LoadTarget(name, url, _DIRECT_USERS, load.light)


def _at(verdict: Verdict, percent: int) -> Verdict:
    return replace(verdict, figures={"canary_percent": percent, **verdict.figures})
