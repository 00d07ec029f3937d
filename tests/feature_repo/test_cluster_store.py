"""The cluster's feature store on a real Redis and PostgreSQL."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from answered import cited
from engines import postgres, redis, s3

from feature_repo.paths import REPO
from serving.feedback import FeedbackStore

IDS = [f"p{i}" for i in range(20)]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    with postgres() as database, redis(tmp_path) as server, s3(tmp_path) as bucket:
        told = {"FEAST_FS_YAML_FILE_PATH": str(REPO / "feature_store.cluster.yaml"), "FEAST_REDIS": server,
                "FEAST_REGISTRY": database, "SLUICE_ARTIFACTS": "s3://sluice/artifacts", **bucket,
                "SLUICE_HOME": str(tmp_path / "pod"), "FEAST_USAGE": "False",
                "SLUICE_FEEDBACK_DB": f"sqlite:///{tmp_path}/feedback.db"}  # fmt: skip
        for name, value in told.items():
            monkeypatch.setenv(name, value)
        yield server


def materialise(home: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "components.featurize.materialise"]
    return subprocess.run(command, env={**os.environ, "SLUICE_HOME": home}, capture_output=True, text=True, check=False)


@pytest.mark.e2e
def test_a_pipeline_fills_redis_and_the_scheduled_job_fills_it_again_after_a_loss(cluster, tmp_path):
    from redis import Redis

    from components.featurize import store as feast_store
    from components.featurize.run import run
    from feature_repo.tasks.retrieval import SERVICE, objects

    before = materialise(str(tmp_path / "job"))
    assert before.returncode == 1 and "run a pipeline first" in before.stderr and "Traceback" not in before.stderr
    when = pd.Timestamp("2024-05-01 12:00", tz="UTC")
    table = pd.DataFrame({"passage_id": IDS, "kind": "class", "n_tokens": 7, "documented": True, "n_changes": 2})
    table.assign(changed_at=when).to_parquet(tmp_path / "p.parquet", coerce_timestamps="us")
    pd.DataFrame({"asked_at": [when]}).to_parquet(tmp_path / "q.parquet", coerce_timestamps="us")
    run(tmp_path / "p.parquet", tmp_path / "q.parquet", {"task": "retrieval"}, tmp_path / "f", tmp_path / "s")
    assert pd.read_parquet(tmp_path / "s")["n_tokens"].tolist() == [7] * 20

    votes = FeedbackStore()
    cited(votes, "r1", "rev", "why?", ["p3", "p4"])
    votes.feedback("r1", "up")
    votes.close()
    host, port = cluster.split(":")
    with Redis(host, int(port)) as client:
        assert client.dbsize() >= len(IDS)
        client.flushall()
        assert client.dbsize() == 0
        done = materialise(str(tmp_path / "job"))
        assert done.returncode == 0, done.stderr
        assert client.dbsize() >= len(IDS)
    with feast_store.opened(objects(tmp_path / "pod" / "features")) as store:
        asked = pd.DataFrame({"passage_id": [*IDS, "unknown"]})
        online = feast_store.online(store, SERVICE, asked, 100).set_index("passage_id")
        assert online.loc["p1", "n_tokens"] == 7 and pd.isna(online.loc["unknown", "n_tokens"])
        assert (online.loc["p3", "up"], online.loc["p4", "shown"]) == (1, 1)
