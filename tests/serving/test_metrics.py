"""Figures that drift, feedback and stale features are told from."""

import asyncio
import io
import json
import time
from pathlib import Path
from typing import Any

import kserve
import numpy as np
import pandas as pd
import pytest
from answered import cited
from prometheus_client.parser import text_string_to_metric_families

from load_tests.slo import read_slo
from serving.core.app import Plane
from serving.core.features import OnlineFeatures
from serving.core.metrics import SECONDS, ServerMetrics, characters
from serving.core.request_log import RequestLog
from serving.feedback import FeedbackStore
from serving.retrieval import PASSAGES

SLO = Path(__file__).parents[2] / "load_tests" / "slo"


def samples(metrics: ServerMetrics) -> dict[tuple[str, str], float]:
    """By name and by the labels besides the revision."""
    found = {}
    for family in text_string_to_metric_families(metrics.page().decode()):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "revision"}
            found[sample.name, json.dumps(labels)] = sample.value
    return found


def test_an_answer_counts_its_text_and_every_confidence_it_gives() -> None:
    metrics = ServerMetrics("r1")
    metrics.answer(["where is the gate?", 5, ""], [0.95])
    metrics.answer([None, [("one", 0.0, 1.0), ("two", None, None)]], [None])
    metrics.answer([], [0.15, 0.55])
    found = samples(metrics)
    assert found["sluice_confidence_count", "{}"] == 3
    assert found["sluice_confidence_bucket", '{"le": "0.2"}'] == 1
    assert found["sluice_confidence_bucket", '{"le": "0.9"}'] == 2
    assert found["sluice_input_characters_count", "{}"] == 2
    assert found["sluice_input_characters_sum", "{}"] == len("where is the gate?") + len("onetwo")


def test_sound_is_no_text() -> None:
    assert characters([b"RIFF", np.zeros(9), 3.5, None, {"given": "back"}]) == 0


def test_the_page_shows_what_feedback_lost_and_when_features_were_read(tmp_path: Path) -> None:
    metrics, store = ServerMetrics("r1"), FeedbackStore(f"sqlite:///{tmp_path / 'feedback.db'}", queue_size=1)
    snapshot = pd.DataFrame({"passage_id": ["a"], "kind": ["class"]})
    features, alone = (
        OnlineFeatures(PASSAGES, ["a"], snapshot, "http://127.0.0.1:1"),
        OnlineFeatures(PASSAGES, ["a"], snapshot),
    )
    features.close()
    store.close()
    for _ in range(4):  # nobody takes them any more: one fits the queue
        cited(store, "r", "r1", "why?", ["a"])
    assert features.live and not alone.live
    metrics.watch(store=store)
    metrics.watch(features=features)
    assert samples(metrics)["sluice_features_refreshed_timestamp_seconds", "{}"] == 0
    features.refreshed_at = 1_700_000_000.5
    found = samples(metrics)
    assert found["sluice_feedback_failures_total", '{"what": "dropped"}'] == 3
    assert found["sluice_features_refreshed_timestamp_seconds", "{}"] == 1_700_000_000.5


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_has_ended_shows_in_readiness_and_figures() -> None:
    class Deadly(io.BytesIO):
        def write(self, data: Any) -> int:
            raise SystemExit

    model, repository = kserve.Model("m"), kserve.ModelRepository()
    model.ready = True
    repository.update(model)
    metrics, log = ServerMetrics("r1"), RequestLog(Deadly())
    plane = Plane(repository, [log])
    metrics.watch(log=log)
    assert asyncio.run(plane.model_ready("m")) and asyncio.run(plane.ready())
    assert samples(metrics)["sluice_writer_up", '{"writer": "log"}'] == 1
    log.write({"request_id": "r"})
    while log.alive:
        time.sleep(0.01)
    assert not asyncio.run(plane.model_ready("m")) and not asyncio.run(plane.ready())
    assert samples(metrics)["sluice_writer_up", '{"writer": "log"}'] == 0
    assert asyncio.run(plane.model_ready("m", disable_predictor_health_check=True))  # who asks is still answered
    log.close()


def test_every_systems_latency_objective_is_a_bound_of_the_histogram() -> None:
    systems = [path.stem for path in SLO.glob("*.yaml") if not path.stem.startswith("drill")]
    assert systems
    assert {read_slo(system).slo.p95_ms / 1000 for system in systems} <= set(SECONDS)
