"""The exporter with the real kfp client; only Kubeflow's API server is stood in for."""

import json
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kubeflow_runs import KubeflowAPI, run
from prometheus_client import CollectorRegistry

from components.report.exporter import Exporter
from components.report.sources import run_figures, sources


@pytest.fixture
def kubeflow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[type[KubeflowAPI]]:
    KubeflowAPI.runs, KubeflowAPI.asked = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), KubeflowAPI)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    monkeypatch.setenv("HOME", str(tmp_path))  # the client remembers its namespace there
    monkeypatch.setenv("KFP_HOST", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("KFP_NAMESPACE", "team")
    monkeypatch.setenv("KFP_TOKEN", "s3cret")
    yield KubeflowAPI
    server.shutdown()
    server.server_close()
    thread.join()


def exported(*figures: Any) -> CollectorRegistry:
    exporter, page = Exporter({source.__name__: source for source in figures}), CollectorRegistry()
    exporter.read()
    page.register(exporter)
    return page


def test_the_newest_end_of_each_state_is_told_by_experiment(kubeflow: type[KubeflowAPI]) -> None:
    kubeflow.runs = [
        run(12, "RUNNING", ended=False), run(10, "FAILED"), run(9, "SUCCEEDED"), run(5, "SUCCEEDED"),
        run(4, "FAILED", "nameless"),
    ]  # fmt: skip
    value = exported(run_figures).get_sample_value
    codebase = {"experiment": "codebase"}
    ends = [value("sluice_run_finished_timestamp_seconds", codebase | {"state": s}) for s in ("FAILED", "SUCCEEDED")]
    assert ends[0] - ends[1] == 3600
    assert value("sluice_run_seconds", codebase | {"state": "FAILED"}) == 3600
    assert value("sluice_runs", codebase | {"state": "SUCCEEDED"}) == 2
    assert value("sluice_runs", codebase | {"state": "RUNNING"}) == 1
    assert value("sluice_runs", {"experiment": "nameless", "state": "FAILED"}) == 1
    assert all("namespace=team" in path and token == "Bearer s3cret" for path, token in kubeflow.asked)


def test_a_source_that_stops_answering_keeps_its_figures_and_says_so(
    kubeflow: type[KubeflowAPI], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert set(sources()) == {"registry", "runs"}
    kubeflow.runs = [run(9, "SUCCEEDED")]
    exporter, page = Exporter({"runs": run_figures}), CollectorRegistry()
    page.register(exporter)
    exporter.read()
    assert page.get_sample_value("sluice_exporter_source_up", {"source": "runs"}) == 1
    monkeypatch.setattr(kubeflow, "runs", [{"run_id": "r1", "created_at": "no time"}])
    exporter.read()
    assert page.get_sample_value("sluice_exporter_source_up", {"source": "runs"}) == 0
    assert page.get_sample_value("sluice_runs", {"experiment": "codebase", "state": "SUCCEEDED"}) == 1
    assert json.loads(capsys.readouterr().err)["source"] == "runs"
    monkeypatch.delenv("KFP_HOST")
    assert set(sources()) == {"registry"}
