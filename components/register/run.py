"""Register a candidate: its bundle in a place that outlives the run which made it, and a version in MLflow."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from components.common import storage
from components.common.registry import (
    BASE,
    MARKER,
    RegistryEntry,
    champion_of,
    client_of_mlflow,
    experiment_of,
    find,
    model_name,
    record,
    version_of,
    word_of,
)
from components.common.step import Settings
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir, digest
from serving.contract.verdict import Verdict

SBOM = "sbom.json"


class RegisterSettings(Settings):
    """Section ``register``: the MLflow experiment that holds the candidates' runs ("" = ``sluice-<system>``)."""

    experiment: str = ""


def register(system: str, bundle: Path, verdicts: Iterable[Verdict], experiment: str = "") -> RegistryEntry:
    """Register a candidate, once per bundle content: store it, track it in one MLflow run, give it a version.

    The run holds lineage (digests of data and code, the parent study's run), parameters, metrics and the verdicts. The
    alias challenger moves to it if every verdict passed; otherwise it is kept as refused, for the record. Out: its
    entry, whose ``path`` is the stored bundle's place. Errors: `SluiceError` if it is no bundle or cannot be stored.
    """
    path, content = keep(bundle, system)
    verdicts = list(verdicts)
    client, name = client_of_mlflow(), model_name(system)
    passed = all(v.passed for v in verdicts)
    known = find(system, content)
    if known is None:
        champion = champion_of(system)
        run = _track(client, system, Bundle.read(bundle), content, verdicts, experiment or name)
        if (bundle / SBOM).is_file():
            client.log_artifact(run, str(bundle / SBOM))
        _ensure_model(client, system)
        tags = {
            "digest": content,
            "compared_with": champion.version if champion else BASE,
            "status": "registered" if passed else "refused",
            **{f"gate.{v.gate}": word_of(v) for v in verdicts},
        }
        made = client.create_model_version(name, source=path, run_id=run, tags=tags)
        known = version_of(system, str(made.version))
    elif known.status == "refused" and passed:  # a person overruled the gate since
        record(system, known.version, verdicts)
        client.set_model_version_tag(name, known.version, "status", "registered")
    if passed and "champion" not in known.aliases:
        client.set_registered_model_alias(name, "challenger", known.version)
    return version_of(system, known.version)


def keep(bundle: Path, system: str) -> tuple[str, str]:
    """Copy a bundle to ``bundles/<system>/<digest>`` below ``SLUICE_ARTIFACTS``, by hard links where a disk allows.

    Out: its place (a path or a URL) and its digest; an earlier copy of the same content stays as it is. Errors:
    `SluiceError` if there is no bundle, or it cannot be written; nothing half-written counts: a directory appears
    whole, and in an object store ``bundle.json`` comes last.
    """
    if not (bundle / MARKER).is_file():
        raise SluiceError(f"{bundle}: no bundle.json; register a bundle directory, as the step 'pack' writes it")
    content = digest(bundle)
    place = f"{storage.artifacts()}/bundles/{system}/{content}"
    if storage.is_url(place):
        storage.put(bundle, place, last=MARKER)
        return place, content
    target = Path(place).resolve()
    if target.is_dir() and digest(target) == content:
        return str(target), content
    try:
        with atomic_dir(target) as scratch:
            shutil.copytree(bundle, scratch, dirs_exist_ok=True, copy_function=_link_or_copy)
    except (OSError, shutil.Error) as error:
        raise SluiceError(
            f"{target}: the bundle could not be stored ({error}); make room there and run again"
        ) from error
    return str(target), content


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _ensure_model(client: Any, system: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model_name(system), description=f"Bundles of the system {system}")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _track(client: Any, system: str, bundle: Bundle, content: str, verdicts: list[Verdict], experiment: str) -> str:
    from mlflow.entities import Metric, Param

    lineage = bundle.lineage
    tags = {"system": system, "bundle": content, "data": lineage.data, "code": lineage.code}
    if lineage.mlflow_run:
        tags |= {"mlflow.parentRunId": lineage.mlflow_run}
    run = client.create_run(experiment_of(client, experiment), tags=tags, run_name=f"{system}-{content}")
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


def _metric_name(name: str) -> str:
    return re.sub(r"[^\w\-. /:]", "_", name.replace("@", "_at_"))[:250]
