"""Registered bundles in a real S3 server: stored whole, read back whole, or one clear error."""

from pathlib import Path

import pytest
import s3fs
from engines import free_port, s3
from kfp.dsl import Artifact, Model
from test_register import PASSED, make_bundle

from components.champion.component import champion
from components.common import registry, storage
from components.common.registry import local_bundle
from components.register.component import register
from components.register.run import keep
from components.rollout.release import address
from serving.contract.errors import SluiceError
from serving.contract.files import digest
from serving.contract.verdict import write_verdicts

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")  # MLflow's own


@pytest.fixture(scope="module")
def bucket(tmp_path_factory):
    with s3(tmp_path_factory.mktemp("s3")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("SLUICE_ARTIFACTS", "s3://sluice/artifacts")
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    s3fs.S3FileSystem.clear_instance_cache()
    return tmp_path / "home"


@pytest.mark.e2e
def test_a_bundle_registered_in_s3_is_the_champion_on_a_machine_that_never_had_it(bucket, home, tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path / "bundle", "weights")
    write_verdicts(PASSED, tmp_path / "verdict.json")
    stored = Model(uri=str(tmp_path / "stored"))
    version = register.python_func(
        "far", Model(uri=str(bundle)), Artifact(uri=str(tmp_path / "verdict.json")), {}, stored
    )
    url = f"s3://sluice/artifacts/bundles/far/{digest(bundle)}"
    assert stored.metadata["stored"] == url == registry.version_of("far", version).path
    assert digest(stored.path) == digest(bundle)
    registry.promote("far", version)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home}/mlflow.db")
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "elsewhere"))
    found, other = Model(uri=str(tmp_path / "champion")), make_bundle(tmp_path / "other", "other")
    assert champion.python_func("far", Model(uri=str(other)), Model(uri="/base"), found) == version
    assert found.path == str(tmp_path / "champion") and digest(found.path) == digest(bundle)
    assert found.metadata["stored"] == url


@pytest.mark.e2e
def test_an_upload_that_was_cut_off_does_not_count_and_the_next_one_mends_it(bucket, home, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", "half")
    place, content = keep(bundle, "half")
    files = s3fs.S3FileSystem()
    files.rm(f"{place}/bundle.json")
    with pytest.raises(SluiceError, match="is gone"):
        local_bundle(place, content)
    assert keep(bundle, "half") == (place, content)
    assert digest(local_bundle(place, content)) == content
    written = files.info(f"{place}/bundle.json")["LastModified"]
    assert keep(bundle, "half") == (place, content)
    assert files.info(f"{place}/bundle.json")["LastModified"] == written


@pytest.mark.e2e
def test_what_was_changed_in_the_store_or_in_the_cache_is_not_used(bucket, home, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", "right")
    place, content = keep(bundle, "changed")
    (local_bundle(place, content) / "weights.bin").write_text("spoilt")
    assert (local_bundle(place, content) / "weights.bin").read_text() == "right"
    s3fs.S3FileSystem().pipe(f"{place}/weights.bin", b"wrong")
    (home / "cache" / content / "weights.bin").unlink()
    with pytest.raises(SluiceError, match="its digest is"):
        local_bundle(place, content)
    assert {path.name for path in (home / "cache").iterdir()} == {content}


@pytest.mark.e2e
def test_wrong_keys_and_a_missing_bucket_are_one_clear_error(bucket, home, tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path / "bundle", "refused")
    monkeypatch.setenv("SLUICE_ARTIFACTS", "s3://nobodys/artifacts")
    with pytest.raises(SluiceError, match="s3://nobodys/artifacts/.*refused or does not answer"):
        keep(bundle, "refused")
    monkeypatch.setenv("SLUICE_ARTIFACTS", "s3://sluice/artifacts")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(SluiceError, match="refused or does not answer.*AWS_SECRET_ACCESS_KEY"):
        keep(bundle, "refused")


def test_a_store_that_does_not_answer_and_an_unknown_scheme_are_one_clear_error(home, tmp_path, monkeypatch):
    bundle = make_bundle(tmp_path / "bundle", "nowhere")
    monkeypatch.setenv("SLUICE_ARTIFACTS", "nothing://bucket")
    with pytest.raises(SluiceError, match="nothing://bucket/.*name a directory or s3"):
        keep(bundle, "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("SLUICE_ARTIFACTS", "s3://sluice/x")
    with pytest.raises(SluiceError, match="does not answer.*AWS_ENDPOINT_URL"):
        keep(bundle, "x")


def test_artifacts_may_lie_in_another_directory_and_single_files_travel(home, tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_ARTIFACTS", str(tmp_path / "share"))
    place, content = keep(make_bundle(tmp_path / "bundle", "shared"), "shared")
    assert place == str(tmp_path / "share" / "bundles" / "shared" / content) and local_bundle(place, content) == Path(
        place
    )
    (tmp_path / "one").write_text("1")
    storage.push_file(tmp_path / "one", "memory://files/one")
    assert storage.pull_file("memory://files/one", tmp_path / "two") and (tmp_path / "two").read_text() == "1"
    assert not storage.pull_file("memory://files/none", tmp_path / "three") and not (tmp_path / "three").exists()


def test_a_cluster_is_told_the_place_of_a_bundle_that_outlives_the_run():
    assert address("/runs/1/stored", {"stored": "s3://sluice/bundles/x"}) == "s3://sluice/bundles/x"
    assert address("s3://runs/1/bundle", {}) == "s3://runs/1/bundle"
    assert address("/runs/1/bundle", {"version": "1"}) == ""  # the rollout takes the directory itself


@pytest.mark.parametrize("key", ["../evil", "a/../../evil", "/evil", "a\\..\\evil", "c:evil", "nul\0"])
def test_keys_that_would_be_written_elsewhere_stop_a_download_before_it_begins(key, tmp_path, monkeypatch):
    from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    store = {f"/bundle/{name}": MemoryFile(MemoryFileSystem(), f"/bundle/{name}", b"1") for name in ("a", key)}
    monkeypatch.setattr(MemoryFileSystem, "store", store)
    with pytest.raises(SluiceError, match="would be written outside its directory"):
        storage.fetch("memory://bundle", "digest")
    assert not list(tmp_path.rglob("*evil*")) and not (tmp_path / "home" / "cache" / "digest").exists()


def test_a_digest_that_is_a_path_names_no_place_in_the_cache(tmp_path, monkeypatch):
    from fsspec.implementations.memory import MemoryFile, MemoryFileSystem

    monkeypatch.setenv("SLUICE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(MemoryFileSystem, "store", {"/bundle/a": MemoryFile(MemoryFileSystem(), "/bundle/a", b"1")})
    for content in ("../../evil", "", f"{tmp_path}/evil"):
        with pytest.raises(SluiceError, match="would be written outside its directory"):
            storage.fetch("memory://bundle", content)
    assert list(tmp_path.iterdir()) == []
