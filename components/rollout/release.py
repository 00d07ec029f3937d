"""From a bundle on disk to a finished rollout with its verdicts, report and registry entries; knows nothing of KFP."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.report.page import Page
from components.rollout.decide import Move, decide
from components.rollout.objects import observe
from components.rollout.settings import RolloutSettings
from components.rollout.watcher import Watcher
from serving.errors import SluiceError
from serving.files import digest, home
from serving.verdict import Verdict, write_verdicts

if TYPE_CHECKING:
    from components.rollout.cluster import Cluster
    from components.rollout.run import Outcome


def release(
    system: str,
    bundle: Path,
    uri: str,
    version: str,
    questions: Path,
    settings: RolloutSettings,
    verdicts: Path,
    report: Path,
) -> tuple[bool, str]:
    """Bring a bundle to 100 % of the traffic, or back out; see `components.rollout.run`.

    Returns whether it is at 100 % now, and why. A bundle that already is costs no window and no registry.

    Args:
        system: name of the InferenceService, and of the model in its routes.
        bundle: the bundle's directory, for its digest and the gold passages' paths.
        uri: where the cluster finds it; "" means the directory itself (file://).
        version: the bundle's version in the registry.
        questions: questions.parquet; its persona rows are asked, with gold paths.
        settings: see `RolloutSettings`.
        verdicts: written: JSON list of every verdict.
        report: written: one HTML page.
    """
    from components.rollout.cluster import Cluster

    if not (bundle / "bundle.json").is_file():
        raise SluiceError(f"{bundle}: no bundle.json; expected a bundle as the step 'pack' writes it")
    content = digest(bundle)
    cluster = Cluster()
    try:
        live = cluster.find(system)
        now = observe(live) if live else None
        decision = decide(now, content, settings.steps)
        if now and decision.move is Move.DONE and now.settled:
            write_verdicts([Verdict("rollout", True, decision.reason, {"canary_percent": 100})], verdicts)
            Page(f"Rollout of {system}, version {version}", decision.reason).write(report)
            return True, decision.reason
        candidate = Candidate(system, content, uri if "://" in uri else bundle.resolve().as_uri(), version)
        watch, asked = Watcher(), labelled(questions, bundle)
        outcome = carry_out(cluster, candidate, asked, settings, watch, lambda: _champion(system, version))
    finally:
        cluster.close()
    _keep(candidate, outcome, watch, settings.slo, verdicts, report)
    return outcome.promoted, outcome.reason


@dataclass(frozen=True)
class Candidate:
    """What is to be rolled out: the system, the bundle's content digest and address, its version in the registry."""

    system: str
    content: str
    uri: str
    version: str


def carry_out(
    cluster: "Cluster",
    candidate: Candidate,
    asked: list[dict[str, Any]],
    settings: RolloutSettings,
    watch: Watcher,
    champion: Callable[[], None] = lambda: None,
) -> "Outcome":
    """Roll ``candidate`` out with the system's manifests; ``asked`` are labelled questions, see `labelled`.

    ``champion`` is called once the release holds 100 % and before the rollout's last mark is taken away, so that a
    killed run repeats it.
    """
    from components.rollout.manifests import read_manifests
    from components.rollout.run import Rollout
    from components.rollout.window import Load
    from load_tests.slo import read_slo

    load = Load(candidate.system, asked, read_slo(settings.slo), settings, home() / "rollout" / candidate.system)
    manifests = read_manifests(candidate.system, settings.manifests)
    rollout = Rollout(candidate.system, manifests, cluster, load, watch, champion)
    return rollout.run(candidate.content, candidate.version, candidate.uri)


def _keep(candidate: Candidate, outcome: "Outcome", watch: Watcher, slo: str, verdicts: Path, report: Path) -> None:
    """Write what happened: verdicts, report, registry."""
    from components.register import registry
    from components.rollout.report import write_report
    from load_tests.slo import read_slo

    if not outcome.verdicts:
        outcome.others.append(Verdict("rollout", outcome.promoted, outcome.reason, {}))
    write_verdicts(outcome.verdicts, verdicts)
    write_report(report, candidate.system, candidate.version, outcome, watch, read_slo(slo).slo)
    if outcome.changed and registry.exists():
        registry.record(candidate.system, candidate.version, outcome.verdicts)


def _champion(system: str, version: str) -> None:
    from components.register import registry

    if registry.exists():
        registry.promote(system, version)


def labelled(questions: Path, bundle: Path) -> list[dict[str, Any]]:
    """The persona questions as the load test asks them, with the paths of their gold passages in the bundle's index.

    Without persona rows (a source of one's own), the test rows stand in, and without those all of them.
    """
    import pandas as pd

    table = pd.read_parquet(questions)
    for split in ("persona", "test"):
        if (table["split"] == split).any():
            table = table[table["split"] == split]
            break
    if not len(table):
        raise SluiceError(
            f"{questions}: no questions in it, so no load test and no canary analysis; see components/make_qa"
        )
    index = bundle / "index" / "passages.parquet"
    paths: dict[str, str] = {}
    if index.is_file():
        passages = pd.read_parquet(index, columns=["passage_id", "path"])
        paths = dict(zip(passages["passage_id"], passages["path"], strict=True))
    rows = []
    for row in table.to_dict("records"):
        gold = {paths[g] for g in row["gold"] if g in paths} or ({row["path"]} if row.get("path") else set())
        known = gold if not paths else gold & set(paths.values())
        rows.append(
            {
                "question_id": str(row["question_id"]),
                "question": str(row["question"]),
                "persona": str(row.get("persona") or ""),
                "gold_paths": sorted(known),
            }
        )
    return rows
