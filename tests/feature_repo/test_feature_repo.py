import importlib
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pandas as pd
import pytest
import yaml
from answered import cited

from feature_repo.paths import REPO, config_file
from serving.contract.errors import SluiceError


def test_the_homes_configuration_differs_from_the_repositorys_only_in_its_paths(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    monkeypatch.delenv("FEAST_FS_YAML_FILE_PATH", raising=False)
    assert config_file() == tmp_path / "features" / "feature_store.yaml"
    checkout, here = (yaml.safe_load(p.read_text()) for p in (REPO / "feature_store.yaml", config_file()))
    assert checkout["registry"].pop("path") == "../.sluice/features/registry.db"
    assert checkout["online_store"].pop("path") == "../.sluice/features/online.db"
    assert here["registry"].pop("path") == str(tmp_path / "features" / "registry.db")
    assert here["online_store"].pop("path") == str(tmp_path / "features" / "online.db")
    assert here == checkout


def test_another_profiles_file_is_taken_as_it_is_and_must_exist(tmp_path, monkeypatch):
    monkeypatch.setenv("FEAST_FS_YAML_FILE_PATH", str(tmp_path / "feature_store.yaml"))
    with pytest.raises(SluiceError, match="no such file"):
        config_file()
    (tmp_path / "feature_store.yaml").touch()
    assert config_file() == tmp_path / "feature_store.yaml"


@pytest.mark.e2e
def test_a_vote_travels_through_feasts_own_server_into_the_features_that_serving_reads(tmp_path, monkeypatch):
    from components.featurize.run import run
    from serving.core.features import OnlineFeatures
    from serving.feedback import FeedbackStore
    from serving.retrieval import PASSAGES

    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FEAST_FS_YAML_FILE_PATH", raising=False)
    when = pd.Timestamp("2024-05-01 12:00", tz="UTC")
    ids = [f"p{i}" for i in range(20)]
    table = pd.DataFrame({"passage_id": ids, "kind": "class", "n_tokens": 7, "documented": True, "n_changes": 2})
    table.assign(changed_at=when).to_parquet(tmp_path / "p.parquet", coerce_timestamps="us")
    pd.DataFrame({"asked_at": [when]}).to_parquet(tmp_path / "q.parquet", coerce_timestamps="us")
    run(tmp_path / "p.parquet", tmp_path / "q.parquet", {"task": "retrieval"}, tmp_path / "f", tmp_path / "s")

    feast = str(Path(sys.executable).with_name("feast"))
    listed = subprocess.run(
        [feast, "-f", str(config_file()), "feature-services", "list"], capture_output=True, text=True, check=True
    )
    assert "retrieval_v1" in listed.stdout
    command = [feast, "-f", str(config_file()), "serve", "-h", "127.0.0.1", "-p", "16613", "--no-access-log"]
    with (tmp_path / "serve.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            url = "http://127.0.0.1:16613"
            wait_for(lambda: healthy(url))
            empty = pd.DataFrame({"passage_id": ids})
            features = OnlineFeatures(PASSAGES, [*ids, "unknown"], empty, url, every_s=0.2)
            wait_for(lambda: features.refreshed_at)
            assert features.columns()["n_tokens"].tolist() == [7] * 20 + [0]
            store = FeedbackStore(feature_server=url)
            cited(store, "r1", "rev", "why?", ["p3", "p4"])
            store.feedback("r1", "up")
            wait_for(lambda: features.columns()["up"][3] == 1)
            assert features.columns()["shown"].tolist() == [0, 0, 0, 1, 1] + [0] * 16
            assert features.columns()["kind"][3] == "class"
            store.close()
            features.close()
        finally:
            server.terminate()


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def wait_for(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.1)


def test_feast_apply_finds_every_object_that_the_pipeline_registers(tmp_path, monkeypatch):
    from feature_repo.tasks.retrieval import objects

    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    found = vars(importlib.reload(importlib.import_module("feature_repo.definitions")))
    for thing in objects(tmp_path / "features"):
        assert found[f"{type(thing).__name__} {thing.name}"] == thing
