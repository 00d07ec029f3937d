"""The model registry: versions of a system in MLflow, and the aliases that say who serves.

Registered model ``sluice-<system>``; aliases ``champion`` (at 100 %), ``challenger`` (passed every gate before the
rollout) and ``previous`` (the champion before). MLflow is imported only when a function needs it (1.5 to 7 s).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.register.store import keep, local
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.files import home
from serving.contract.verdict import Verdict

SBOM = "sbom.json"
BASE = "base"
"""What a version was compared with when there was no champion yet: the base model's own bundle."""


@dataclass(frozen=True)
class Entry:
    """One registered version. ``path``: its bundle's directory, or URL in an object store (see `bundle_of`).

    ``status``: registered, refused (a gate failed), promoted, rolled back or replaced.
    """

    version: str
    path: str
    digest: str
    status: str
    compared_with: str
    run: str
    aliases: tuple[str, ...]


def tracking_uri() -> str:
    """``$MLFLOW_TRACKING_URI``, or the SQLite file in ``$SLUICE_HOME``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home()}/mlflow.db"


def exists() -> bool:
    """False only when the registry is this machine's file and nothing has made it yet; costs no MLflow import."""
    return bool(os.environ.get("MLFLOW_TRACKING_URI")) or (home() / "mlflow.db").exists()


def _client() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow.tracking import MlflowClient

    home().mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=tracking_uri())


def _name(system: str) -> str:
    return f"sluice-{system}"


def history(system: str) -> list[Entry]:
    """Every version, newest first; empty when nothing was registered."""
    if not exists():
        return []
    client = _client()
    aliases = _aliases(client, system)
    found = client.search_model_versions(f"name='{_name(system)}'", max_results=1000)
    return sorted((_entry(v, aliases) for v in found), key=lambda e: -int(e.version))


def champion_of(system: str) -> Entry | None:
    """The version at 100 %, or None."""
    return alias_of(system, "champion")


def alias_of(system: str, alias: str) -> Entry | None:
    """The version that ``champion``, ``challenger`` or ``previous`` names, or None."""
    return next((e for e in history(system) if alias in e.aliases), None)


def version_of(system: str, version: str) -> Entry:
    """One version. Errors: `SluiceError` if there is none of that number."""
    found = history(system)
    for entry in found:
        if entry.version == str(version):
            return entry
    have = ", ".join(e.version for e in found) or "none"
    raise SluiceError(f"{_name(system)}: no version {version} in {tracking_uri()}; there are: {have}")


def find(system: str, digest: str) -> Entry | None:
    """The version with this bundle digest, or None."""
    return next((e for e in history(system) if e.digest == digest), None)


def bundle_of(entry: Entry) -> Path:
    """The entry's bundle as a local directory, fetched from the object store if it is there.

    Errors: `SluiceError` if it is gone or is not what was registered.
    """
    return local(entry.path, entry.digest)


def _aliases(client: Any, system: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return {k: str(v) for k, v in client.get_registered_model(_name(system)).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def _entry(version: Any, aliases: Mapping[str, str]) -> Entry:
    tags = version.tags
    return Entry(
        version=str(version.version),
        path=version.source,
        digest=tags.get("digest", ""),
        status=tags.get("status", "registered"),
        compared_with=tags.get("compared_with", BASE),
        run=version.run_id or "",
        aliases=tuple(sorted(a for a, v in aliases.items() if v == str(version.version))),
    )


def register(system: str, bundle: Path, verdicts: Iterable[Verdict], experiment: str = "") -> Entry:
    """Register a candidate, once per bundle content: store it, track it in one MLflow run, give it a version.

    The run holds lineage (digests of data and code, the parent study's run), parameters, metrics and the verdicts. The
    alias challenger moves to it if every verdict passed; otherwise it is kept as refused, for the record. Out: its
    entry, whose ``path`` is the stored bundle's place. Errors: `SluiceError` if it is no bundle or cannot be stored.
    """
    path, digest = keep(bundle, system)
    verdicts = list(verdicts)
    client, name = _client(), _name(system)
    passed = all(v.passed for v in verdicts)
    known = find(system, digest)
    if known is None:
        champion = champion_of(system)
        run = _track(client, system, Bundle.read(bundle), digest, verdicts, experiment or name)
        if (bundle / SBOM).is_file():
            client.log_artifact(run, str(bundle / SBOM))
        _ensure_model(client, system)
        tags = {
            "digest": digest,
            "compared_with": champion.version if champion else BASE,
            "status": "registered" if passed else "refused",
            **{f"gate.{v.gate}": _word(v) for v in verdicts},
        }
        made = client.create_model_version(name, source=path, run_id=run, tags=tags)
        known = version_of(system, str(made.version))
    elif known.status == "refused" and passed:  # a person overruled the gate since
        record(system, known.version, verdicts)
        client.set_model_version_tag(name, known.version, "status", "registered")
    if passed and "champion" not in known.aliases:
        client.set_registered_model_alias(name, "challenger", known.version)
    return version_of(system, known.version)


def _ensure_model(client: Any, system: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(_name(system), description=f"Bundles of the system {system}")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _track(client: Any, system: str, bundle: Bundle, digest: str, verdicts: list[Verdict], experiment: str) -> str:
    from mlflow.entities import Metric, Param

    lineage = bundle.lineage
    tags = {"system": system, "bundle": digest, "data": lineage.data, "code": lineage.code}
    if lineage.mlflow_run:
        tags |= {"mlflow.parentRunId": lineage.mlflow_run}
    run = client.create_run(_experiment(client, experiment), tags=tags, run_name=f"{system}-{digest}")
    now = run.info.start_time
    figures = dict(bundle.metrics)
    for verdict in verdicts:
        numbers = {k: v for k, v in verdict.figures.items() if isinstance(v, (int, float))}
        figures |= {f"{verdict.gate}/{k}": float(v) for k, v in numbers.items()}
    params = {"base_model": bundle.base_model, "variant": bundle.variant, "task": bundle.task}
    params |= {f"adapter.{k}": str(v)[:500] for k, v in (bundle.adapter or {}).items()}
    client.log_batch(
        run.info.run_id,
        metrics=[Metric(_metric_name(k), v, now, 0) for k, v in figures.items()],
        params=[Param(k, v) for k, v in params.items()],
    )
    client.log_text(run.info.run_id, json.dumps([asdict(v) for v in verdicts], indent=1), "verdicts.json")
    client.log_text(run.info.run_id, bundle.model_dump_json(indent=1), "bundle.json")
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _experiment(client: Any, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    local = tracking_uri().startswith("sqlite")
    place = (home() / "mlartifacts" / name).as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=place))


def _metric_name(name: str) -> str:
    return re.sub(r"[^\w\-. /:]", "_", name.replace("@", "_at_"))[:250]


def promote(system: str, version: str) -> Entry:
    """Move the alias champion to ``version``; the champion before keeps the alias previous.

    Promoting the champion again changes nothing. Errors: `SluiceError` if the version is unknown or a gate refused it.
    """
    entry = version_of(system, version)
    if entry.status == "refused":
        raise SluiceError(
            f"{_name(system)} version {version} was refused by a gate; a person may overrule it by name "
            "(settings 'gate': overruled_by, overrule_reason), then run the pipeline again"
        )
    champion = champion_of(system)
    if champion and champion.version == entry.version:
        return entry
    client = _client()
    name = _name(system)
    if champion:
        client.set_registered_model_alias(name, "previous", champion.version)
        client.set_model_version_tag(name, champion.version, "status", "replaced")
    client.set_registered_model_alias(name, "champion", entry.version)
    client.set_model_version_tag(name, entry.version, "status", "promoted")
    if "challenger" in entry.aliases:
        client.delete_registered_model_alias(name, "challenger")
    return version_of(system, version)


def demote(system: str) -> None:
    """Take the alias champion away: the base model, which is no version of the registry, serves again."""
    if champion := champion_of(system):
        client, name = _client(), _name(system)
        client.set_registered_model_alias(name, "previous", champion.version)
        client.delete_registered_model_alias(name, "champion")


def record(system: str, version: str, verdicts: Iterable[Verdict]) -> None:
    """Add the rollout's verdicts (load, canary) to a version: tags by gate, and all figures in its run's verdicts.json.

    A verdict that did not pass marks the version as rolled back. Errors: `SluiceError` if the version is unknown.
    """
    entry = version_of(system, version)
    client, name, new = _client(), _name(system), list(verdicts)
    for verdict in new:
        client.set_model_version_tag(name, entry.version, f"gate.{verdict.gate}", _word(verdict))
        client.set_model_version_tag(name, entry.version, f"reason.{verdict.gate}", verdict.reason[:5000])
    if any(not v.passed for v in new):
        client.set_model_version_tag(name, entry.version, "status", "rolled back")
    if entry.run:
        old = verdicts_of(system, entry.version)
        text = json.dumps([asdict(v) for v in (*old, *new)], indent=1)
        client.log_text(entry.run, text, "verdicts.json")


def verdicts_of(system: str, version: str) -> list[Verdict]:
    """Every verdict on record for a version, in the order they were given."""
    entry = version_of(system, version)
    if not entry.run:
        return []
    client = _client()
    if not any(f.path == "verdicts.json" for f in client.list_artifacts(entry.run)):
        return []
    text = Path(client.download_artifacts(entry.run, "verdicts.json")).read_text()
    return [Verdict(**row) for row in json.loads(text)]


def _word(verdict: Verdict) -> str:
    return "passed" if verdict.passed else "refused"
