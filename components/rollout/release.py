"""From a bundle on disk to a finished rollout with its verdicts, report and registry entries; knows nothing of KFP."""

import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.common.page import Page
from components.rollout.decide import Move, decide
from components.rollout.modes import observe
from components.rollout.objects import Observed
from components.rollout.settings import RolloutSettings
from components.rollout.watcher import RolloutWatcher
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir, atomic_file, digest, home
from serving.contract.verdict import Verdict, write_verdicts

if TYPE_CHECKING:
    from components.rollout.cluster import ClusterClient
    from components.rollout.manifests import Manifests
    from components.rollout.run import RolloutOutcome
    from load_tests.slo import LoadTest


def release(
    system: str,
    bundle: Path,
    uri: str,
    version: str,
    asked: Path,
    settings: RolloutSettings,
    verdicts: Path,
    report: Path,
    champion: "Standing | None" = None,
) -> tuple[bool, str]:
    """Bring a bundle to 100 % of the traffic, or back out; return whether it is there now, and why.

    Args:
        system: name of the InferenceService, and of the model in its routes.
        bundle: the bundle's directory.
        uri: where the cluster finds it; "" means the directory itself (file://).
        version: the bundle's version in the registry.
        asked: request rows with labels (JSON lines, see `load_tests.asked`).
        settings: see `RolloutSettings`.
        verdicts: written: JSON list of every verdict.
        report: written: one HTML page.
        champion: what the bundle was compared with; it is deployed first where nothing is served yet.
    """
    from components.rollout.cluster import ClusterClient
    from load_tests.asked import read_asked

    content = _digest(bundle)
    manifests = _manifests(system, settings)
    with closing(ClusterClient()) as cluster:
        live = cluster.find(system)
        manifests.fitting(live)
        now = observe(live) if live else None
        decision = decide(now, content, settings.steps)
        if now and decision.move is Move.DONE and now.settled and not now.failure:
            reason = "; ".join(filter(None, (decision.reason, manifests.outdated(now.release))))
            return True, _recall(cluster, system, content, reason, verdicts, report)
        candidate, watch = Candidate(system, content, _address(uri, bundle), version), RolloutWatcher()
        rows = _remember(system, read_asked(asked))
        outcome = _bring(cluster, candidate, champion, now, rows, settings, watch)
    _keep(candidate, outcome, watch, settings.slo or system, verdicts, report)
    return outcome.promoted, outcome.reason


def _bring(
    cluster: "ClusterClient",
    candidate: "Candidate",
    champion: "Standing | None",
    now: Observed | None,
    rows: list[dict[str, Any]],
    settings: RolloutSettings,
    watch: RolloutWatcher,
) -> "RolloutOutcome":
    """The champion first where nothing is served, then the candidate, then the graphs that waited for it."""
    from components.rollout.graph import apply_graphs

    outcome = _deploy_first(cluster, candidate, champion, now, rows, settings, watch)
    if outcome is None or outcome.promoted:
        promote = partial(_champion, candidate.system, candidate.version)
        outcome = carry_out(cluster, candidate, rows, settings, watch, promote)
    if outcome.promoted:
        told = apply_graphs(cluster, candidate.system)
        outcome.reason = "; ".join([outcome.reason, *told])
        for sentence in told:
            watch.say(sentence)
    return outcome


def address(uri: str, metadata: Mapping[str, Any]) -> str:
    """Where a cluster finds the bundle of an artifact: in the object store that outlives the run, or at its own URL.

    "" where the artifact is a directory of this machine.
    """
    return str(metadata.get("stored") or ("" if Path(uri).is_absolute() else uri))


def _address(uri: str, bundle: Path) -> str:
    return uri if "://" in uri else bundle.resolve().as_uri()


def asked_before(system: str) -> Path:
    """Where the request rows of the system's last rollout are kept, for drills."""
    return home() / "rollout" / system / "asked.jsonl"


def _remember(system: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from load_tests.asked import write_asked

    with atomic_file(asked_before(system)) as scratch:
        write_asked(rows, scratch)
    return rows


@dataclass(frozen=True)
class Standing:
    """The champion of the comparison: its bundle's directory and address, and its version ("base": the base model)."""

    bundle: Path
    uri: str
    version: str


def _deploy_first(
    cluster: "ClusterClient",
    candidate: "Candidate",
    champion: Standing | None,
    now: Observed | None,
    asked: list[dict[str, Any]],
    settings: RolloutSettings,
    watch: RolloutWatcher,
) -> "RolloutOutcome | None":
    """Serve the champion where nothing is served yet, or go on with that; None where there is nothing to do.

    A first release then has a stable revision to be compared with and to fall back on, like every later one.
    """
    content = _digest(champion.bundle) if champion else candidate.content
    under_way = now is None or (now.percent is not None and now.release.bundle == content)
    if champion is None or content == candidate.content or not under_way:
        return None
    watch.say(f"nothing is served yet: {champion.version} goes first, to compare with and to fall back on")
    uri = _address(champion.uri, champion.bundle)
    return carry_out(cluster, Candidate(candidate.system, content, uri, champion.version), asked, settings, watch)


def _digest(bundle: Path) -> str:
    if not (bundle / "bundle.json").is_file():
        raise SluiceError(f"{bundle}: no bundle.json; expected a bundle as the step 'pack' writes it")
    return digest(bundle)


@dataclass(frozen=True)
class Candidate:
    """What is to be rolled out: the system, the bundle's content digest and address, its version in the registry."""

    system: str
    content: str
    uri: str
    version: str


def carry_out(
    cluster: "ClusterClient",
    candidate: Candidate,
    asked: list[dict[str, Any]],
    settings: RolloutSettings,
    watch: RolloutWatcher,
    champion: Callable[[], None] = lambda: None,
) -> "RolloutOutcome":
    """Roll ``candidate`` out with the system's manifests; ``asked`` are request rows, see `load_tests.asked`.

    ``champion`` is called once the release holds 100 % and before the rollout's last mark is taken away, so that a
    killed run repeats it.
    """
    from components.rollout.run import Rollout
    from components.rollout.window import Load
    from load_tests.slo import read_slo

    labels = len({row["id"] for row in asked if row["expect"]})  # a small source has few, and no window has more
    settings = settings.model_copy(update={"min_questions": min(settings.min_questions, labels)})
    test, place = read_slo(settings.slo or candidate.system), home() / "rollout" / candidate.system
    load = Load(candidate.system, asked, test, settings, place)
    manifests = _manifests(candidate.system, settings).fitting(cluster.find(candidate.system))
    rollout = Rollout(candidate.system, manifests, cluster, load, watch, champion)
    return rollout.run(candidate.content, candidate.version, candidate.uri)


def _manifests(system: str, settings: RolloutSettings) -> "Manifests":
    """The system's manifests with the predictor's arguments that the settings ask for."""
    from components.rollout.manifests import read_manifests

    return read_manifests(system, settings.manifests).with_flags(settings.serving.flags())


def _recall(cluster: "ClusterClient", system: str, content: str, reason: str, verdicts: Path, report: Path) -> str:
    """Give the verdicts and the page of the rollout that brought this bundle to 100 %, where this machine has them."""
    from components.rollout.graph import apply_graphs

    reason = "; ".join([reason, *apply_graphs(cluster, system)])
    kept = _kept(system, content)
    if (kept / "verdicts.json").is_file() and (kept / "report.html").is_file():
        for name, target in (("verdicts.json", verdicts), ("report.html", report)):
            with atomic_file(target) as scratch:
                shutil.copyfile(kept / name, scratch)
        return reason
    write_verdicts([Verdict("rollout", True, reason, {"canary_percent": 100})], verdicts)
    Page(f"Rollout of {system}", reason).write(report)
    return reason


def _kept(system: str, content: str) -> Path:
    return home() / "rollout" / system / "kept" / content


def _keep(
    candidate: Candidate,
    outcome: "RolloutOutcome",
    watch: RolloutWatcher,
    slo: "LoadTest | str",
    verdicts: Path,
    report: Path,
) -> None:
    """Write what happened: verdicts, report, registry."""
    from components.common import registry
    from components.rollout.report import write_report
    from load_tests.slo import read_slo

    if not outcome.verdicts:
        outcome.others.append(Verdict("rollout", outcome.promoted, outcome.reason, {}))
    write_verdicts(outcome.verdicts, verdicts)
    write_report(report, candidate.system, candidate.version, outcome, watch, read_slo(slo).slo)
    if outcome.promoted and outcome.changed:
        with atomic_dir(_kept(candidate.system, candidate.content)) as scratch:
            shutil.copyfile(verdicts, scratch / "verdicts.json")
            shutil.copyfile(report, scratch / "report.html")
    if outcome.changed and registry.exists():
        registry.record(candidate.system, candidate.version, outcome.verdicts)


def _champion(system: str, version: str) -> None:
    from components.common import registry

    if registry.exists():
        registry.promote(system, version)
