"""What the exporter reads: versions, verdicts and figures from the registry, states of runs from Kubeflow Pipelines."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric

from components.common import registry

Source = Callable[[], list[Metric]]
_PREFIX = "sluice-"
_RUNS = 200
"""Runs looked at, newest first: the most that Kubeflow Pipelines puts on one page."""


def sources() -> dict[str, Source]:
    """The sources that this environment names: ``registry`` always, ``runs`` where there is a ``KFP_HOST``."""
    return {"registry": registry_figures} | ({"runs": run_figures} if os.environ.get("KFP_HOST") else {})


def registry_figures() -> list[Metric]:
    """Every system's versions; of the newest version and of those with an alias also verdicts and figures.

    Errors: ``mlflow.exceptions.MlflowException`` when the tracking server does not answer.
    """
    versions = _gauge("sluice_registry_versions", "Registered versions by status", "system", "status")
    alias = _gauge("sluice_registry_alias_version", "Version that an alias names", "system", "alias")
    made = _gauge("sluice_registry_created_timestamp_seconds", "When a version was registered", "system", "version")
    gate = _gauge("sluice_registry_gate_passed", "1: the gate let it pass, 0: it refused", "system", "version", "gate")
    figure = _gauge("sluice_registry_figure", "Figures of a version's run", "system", "version", "figure")
    families: list[Metric] = [versions, alias, made, gate, figure]
    if not registry.exists():
        return families
    from mlflow.tracking import MlflowClient

    client = MlflowClient(registry.tracking_uri())
    for model in client.search_registered_models(f"name LIKE '{_PREFIX}%'"):
        system = model.name.removeprefix(_PREFIX)
        entries = registry.history(system)
        for status, count in Counter(entry.status for entry in entries).items():
            versions.add_metric([system, status], count)
        for entry in [e for at, e in enumerate(entries) if at == 0 or e.aliases]:
            for name in entry.aliases:
                alias.add_metric([system, name], int(entry.version))
            version = client.get_model_version(model.name, entry.version)
            made.add_metric([system, entry.version], version.creation_timestamp / 1000)
            for tag, word in version.tags.items():
                if tag.startswith("gate."):
                    gate.add_metric([system, entry.version, tag.removeprefix("gate.")], word == "passed")
            if entry.run:
                for name, value in client.get_run(entry.run).data.metrics.items():
                    figure.add_metric([system, entry.version, name], value)
    return families


def run_figures() -> list[Metric]:
    """Kubeflow Pipelines' last runs by experiment and state, and the end and length of the newest that ended so.

    Server, namespace and token: ``KFP_HOST``, ``KFP_NAMESPACE``, ``KFP_TOKEN``. Errors: those of the kfp client.
    """
    counts = _gauge("sluice_runs", f"Runs by state, of the last {_RUNS}", "experiment", "state")
    finished = _gauge("sluice_run_finished_timestamp_seconds", "When the newest run ended so", "experiment", "state")
    seconds = _gauge("sluice_run_seconds", "How long that run took", "experiment", "state")
    runs, names = _runs()
    states = Counter((names.get(run.experiment_id, run.experiment_id), run.state) for run in runs)
    for key, count in states.items():
        counts.add_metric(key, count)
    newest: dict[tuple[str, str], Any] = {}
    for run in runs:
        if run.state in ("SUCCEEDED", "FAILED") and run.finished_at:
            key = names.get(run.experiment_id, run.experiment_id), run.state
            if key not in newest or run.finished_at > newest[key].finished_at:
                newest[key] = run
    for key, run in newest.items():
        finished.add_metric(key, run.finished_at.timestamp())
        seconds.add_metric(key, (run.finished_at - run.created_at).total_seconds())
    return [counts, finished, seconds]


def _runs() -> tuple[list[Any], dict[str, str]]:
    import kfp

    namespace = os.environ.get("KFP_NAMESPACE") or None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the client: it wants Kubeflow Pipelines 2, which this is
        client = kfp.Client(
            host=os.environ["KFP_HOST"],
            namespace=namespace or "kubeflow",
            existing_token=os.environ.get("KFP_TOKEN") or None,
        )
    runs = client.list_runs(page_size=_RUNS, sort_by="created_at desc", namespace=namespace).runs or []
    experiments = client.list_experiments(page_size=_RUNS, namespace=namespace).experiments or []
    return runs, {known.experiment_id: known.display_name for known in experiments}


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)
