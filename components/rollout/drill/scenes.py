"""The scenes of a drill: rollouts with users asking beside them; what must hold is judged from the counts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.rollout.cluster import ClusterClient
from components.rollout.drill import faults
from components.rollout.drill.traffic import Traffic
from components.rollout.modes import observe
from components.rollout.release import Candidate, carry_out
from components.rollout.run import RolloutOutcome
from components.rollout.settings import RolloutSettings
from components.rollout.watcher import RolloutWatcher
from load_tests.slo import read_slo
from serving.contract.files import digest

WITHIN_S = 30.0


@dataclass(frozen=True)
class Scene:
    """A name, the story for watchers, whether it should end at 100 %, how its canary is made (bundle, settings)."""

    name: str
    story: str
    promoted: bool
    make: Callable[["Stage"], tuple[Path, RolloutSettings]]


@dataclass(frozen=True)
class Result:
    """How a scene went. Seconds: of the whole rollout, and from the canary's first traffic until it had none."""

    scene: str
    promoted: bool
    expected: bool
    reason: str
    seconds: float
    withdrawn_s: float | None
    requests: int
    failed_stable: int
    failed_canary: int

    @property
    def fault(self) -> str:
        """What went otherwise than it must; "" when nothing did."""
        if self.promoted != self.expected:
            return "promoted" if self.promoted else "not promoted"
        if self.failed_stable or (self.expected and self.failed_canary):
            return f"{self.failed_stable + self.failed_canary} of the users' requests failed"
        if not self.expected and (self.withdrawn_s is None or self.withdrawn_s > WITHIN_S):
            return f"not withdrawn within {WITHIN_S:.0f} s"
        return ""


@dataclass(frozen=True)
class Stage:
    """Where the drill plays: a system on a control plane, a sound bundle, a place for broken ones, request rows."""

    system: str
    bundle: Path
    place: Path
    settings: RolloutSettings
    asked: list[dict[str, Any]]

    def faulty(self, name: str, *flags: str) -> tuple[Path, RolloutSettings]:
        """A sound bundle behind a faulty server."""
        made = faults.copy_bundle(self.bundle, self.place / name, f"drill: {name}")
        manifests = faults.faulty_manifests(self.system, self.settings.manifests, self.place / f"{name}.d", list(flags))
        return made, self.settings.model_copy(update={"manifests": str(manifests)})


def settings_of(bundle: Path) -> RolloutSettings:
    """Short windows under an SLO that a busy machine keeps too, as the bundle's task wants them."""
    return RolloutSettings(**faults.drilling_of(bundle).SETTINGS)


SCENES = (
    Scene(
        "wrong",
        "every answer is wrong, and as fast as ever",
        False,
        lambda s: (faults.wrong_answers(s.bundle, s.place / "wrong"), s.settings),
    ),
    Scene("slow", "each answer takes 2 s longer", False, lambda s: s.faulty("slow", "--delay", "2")),
    Scene("crash", "it dies at every 20th request", False, lambda s: s.faulty("crash", "--crash-after", "20")),
    Scene(
        "never ready",
        "its model files were cut short",
        False,
        lambda s: (faults.corrupt(s.bundle, s.place / "corrupt"), s.settings),
    ),
    Scene(
        "sound",
        "nothing is wrong with it",
        True,
        lambda s: (faults.copy_bundle(s.bundle, s.place / "sound", "drill: sound"), s.settings),
    ),
)


def play(stage: Stage, names: list[str], tell: Callable[[str], None], quiet: bool = False) -> Iterator[Result]:
    """Deploy the sound bundle, then yield the result of each scene (all of them when ``names`` is empty)."""
    cluster = ClusterClient()
    try:
        tell(f"first, {stage.bundle.name} goes to 100 %")
        first = _roll(cluster, stage, stage.bundle, stage.settings, "0", RolloutWatcher(quiet))
        if not first.promoted:
            yield Result("first deployment", False, True, first.reason, 0, None, 0, 0, 0)
            return
        for number, scene in enumerate((s for s in SCENES if not names or s.name in names), 1):
            tell(f"{scene.name}: {scene.story}")
            yield _scene(cluster, stage, scene, str(number), RolloutWatcher(quiet))
    finally:
        cluster.close()


def _roll(
    cluster: ClusterClient, stage: Stage, bundle: Path, settings: RolloutSettings, version: str, watch: RolloutWatcher
) -> RolloutOutcome:
    candidate = Candidate(stage.system, digest(bundle), bundle.resolve().as_uri(), version)
    return carry_out(cluster, candidate, stage.asked, settings, watch)


def _scene(cluster: ClusterClient, stage: Stage, scene: Scene, version: str, watch: RolloutWatcher) -> Result:
    bundle, settings = scene.make(stage)
    before = observe(cluster.get(stage.system))
    offered = read_slo(settings.slo or stage.system).load.rate or 12
    with Traffic(before.url, stage.system, stage.asked, min(12, offered)) as users:
        outcome = _roll(cluster, stage, bundle, settings, version, watch)
    seen = users.samples()
    canaries = {window.canary for window in outcome.windows}
    failed = seen[seen["status"] != 200]
    of_canary = int(failed["revision"].isin(canaries).sum())
    withdrawn = None if watch.withdrawn_at is None else watch.withdrawn_at - (watch.opened_at or watch.began)
    took = watch.events[-1].at - watch.events[0].at
    return Result(
        scene.name,
        outcome.promoted,
        scene.promoted,
        outcome.reason,
        took,
        withdrawn,
        len(seen),
        len(failed) - of_canary,
        of_canary,
    )
