"""The model registry: versions of a system in MLflow, and the aliases that say who serves.

Registered model ``sluice-<system>``; aliases ``champion`` (at 100 %), ``challenger`` (passed every gate before the
rollout) and ``previous`` (the champion before). MLflow is imported only when a function needs it (1.5 to 7 s).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.common import storage
from serving.contract.errors import SluiceError
from serving.contract.files import home
from serving.contract.verdict import Verdict

MARKER = "bundle.json"
BASE = "base"
"""What a version was compared with when there was no champion yet: the base model's own bundle."""


@dataclass(frozen=True)
class RegistryEntry:
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


def client_of_mlflow() -> Any:
    """A client of the tracking server; MLflow's own telemetry stays off."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    from mlflow.tracking import MlflowClient

    home().mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=tracking_uri())


def experiment_of(client: Any, name: str) -> str:
    """Id of the MLflow experiment of that name, made where there is none."""
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    local = tracking_uri().startswith("sqlite")
    place = (home() / "mlartifacts" / name).as_uri() if local else None
    return str(client.create_experiment(name, artifact_location=place))


def model_name(system: str) -> str:
    """Name of the registered model."""
    return f"sluice-{system}"


def history(system: str) -> list[RegistryEntry]:
    """Every version, newest first; empty when nothing was registered."""
    if not exists():
        return []
    client = client_of_mlflow()
    aliases = _aliases(client, system)
    found = client.search_model_versions(f"name='{model_name(system)}'", max_results=1000)
    return sorted((_entry(v, aliases) for v in found), key=lambda e: -int(e.version))


def champion_of(system: str) -> RegistryEntry | None:
    """The version at 100 %, or None."""
    return alias_of(system, "champion")


def alias_of(system: str, alias: str) -> RegistryEntry | None:
    """The version that ``champion``, ``challenger`` or ``previous`` names, or None."""
    return next((e for e in history(system) if alias in e.aliases), None)


def version_of(system: str, version: str) -> RegistryEntry:
    """One version. Errors: `SluiceError` if there is none of that number."""
    found = history(system)
    for entry in found:
        if entry.version == str(version):
            return entry
    have = ", ".join(e.version for e in found) or "none"
    raise SluiceError(f"{model_name(system)}: no version {version} in {tracking_uri()}; there are: {have}")


def find(system: str, digest: str) -> RegistryEntry | None:
    """The version with this bundle digest, or None."""
    return next((e for e in history(system) if e.digest == digest), None)


def bundle_of(entry: RegistryEntry) -> Path:
    """The entry's bundle as a local directory, fetched from the object store if it is there.

    Errors: `SluiceError` if it is gone, cannot be read, or is not what was registered.
    """
    return local_bundle(entry.path, entry.digest)


def local_bundle(place: str, digest: str) -> Path:
    """The bundle at a path or URL as a directory of this machine; one in an object store is fetched and checked.

    Errors: `SluiceError` if it is gone, cannot be read, or is not what was registered.
    """
    whole = storage.has(place, MARKER) if storage.is_url(place) else (Path(place) / MARKER).is_file()
    if not whole:
        raise SluiceError(f"bundle {place} is gone; restore it")
    return storage.fetch(place, digest) if storage.is_url(place) else Path(place)


def _aliases(client: Any, system: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return {k: str(v) for k, v in client.get_registered_model(model_name(system)).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def _entry(version: Any, aliases: Mapping[str, str]) -> RegistryEntry:
    tags = version.tags
    return RegistryEntry(
        version=str(version.version),
        path=version.source,
        digest=tags.get("digest", ""),
        status=tags.get("status", "registered"),
        compared_with=tags.get("compared_with", BASE),
        run=version.run_id or "",
        aliases=tuple(sorted(a for a, v in aliases.items() if v == str(version.version))),
    )


def promote(system: str, version: str) -> RegistryEntry:
    """Move the alias champion to ``version``; the champion before keeps the alias previous.

    Promoting the champion again changes nothing. Errors: `SluiceError` if the version is unknown or a gate refused it.
    """
    entry = version_of(system, version)
    if entry.status == "refused":
        raise SluiceError(
            f"{model_name(system)} version {version} was refused by a gate; a person may overrule it by name "
            "(settings 'gate': overruled_by, overrule_reason), then run the pipeline again"
        )
    champion = champion_of(system)
    if champion and champion.version == entry.version:
        return entry
    client = client_of_mlflow()
    name = model_name(system)
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
        client, name = client_of_mlflow(), model_name(system)
        client.set_registered_model_alias(name, "previous", champion.version)
        client.delete_registered_model_alias(name, "champion")


def record(system: str, version: str, verdicts: Iterable[Verdict]) -> None:
    """Add the rollout's verdicts (load, canary) to a version: tags by gate, and all figures in its run's verdicts.json.

    A verdict that did not pass marks the version as rolled back. Errors: `SluiceError` if the version is unknown.
    """
    entry = version_of(system, version)
    client, name, new = client_of_mlflow(), model_name(system), list(verdicts)
    for verdict in new:
        client.set_model_version_tag(name, entry.version, f"gate.{verdict.gate}", word_of(verdict))
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
    client = client_of_mlflow()
    if not any(f.path == "verdicts.json" for f in client.list_artifacts(entry.run)):
        return []
    text = Path(client.download_artifacts(entry.run, "verdicts.json")).read_text()
    return [Verdict(**row) for row in json.loads(text)]


def word_of(verdict: Verdict) -> str:
    """How a verdict stands in a version's tags."""
    return "passed" if verdict.passed else "refused"
