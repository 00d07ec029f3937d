"""The feature store at work: register, load, and read back. The only module of the step that imports Feast."""

import contextlib
import fcntl
import io
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from feast import FeatureStore, FeatureView, FileSource, RepoConfig
from feast.data_source import PushMode

from components.common import storage
from feature_repo.paths import REPO, config_file, features_dir
from feature_repo.views import objects
from serving.contract.files import atomic_file

logging.getLogger("feast").setLevel(logging.WARNING)

EPOCH = pd.Timestamp(0, tz="UTC")
SERVICE = "retrieval_v1"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One pipeline at a time feeds the store in ``folder``; others wait. The kernel frees a dead process's lock."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Feast prints progress bars and colours; a step's log keeps its own lines only."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _registry_file(raw: dict[str, Any]) -> Path | None:
    """The registry's file if it is one on this machine, else None (SQL, S3, remote)."""
    registry = raw["registry"] if isinstance(raw["registry"], dict) else {"path": raw["registry"]}
    if registry.get("registry_type", "file") != "file" or "://" in registry["path"]:
        return None
    return REPO / registry["path"]


@contextlib.contextmanager
def opened() -> Iterator[FeatureStore]:
    """A store with our objects applied; its registry file is replaced in one move when the block succeeds.

    Feast writes its registry in place, several times a run; a feature server that reads at that moment, or a run that
    is killed there, would find half a file. So all writes go to a copy.
    """
    with config_file().open() as stream:
        raw = yaml.safe_load(os.path.expandvars(stream.read()))
    target = _registry_file(raw)
    if target is None:
        yield _applied(RepoConfig(**raw, repo_path=REPO))
        return
    with atomic_file(target) as scratch:
        if target.exists():
            shutil.copyfile(target, scratch)
        else:
            scratch.unlink()
        raw["registry"] = {"registry_type": "file", "path": str(scratch)}
        yield _applied(RepoConfig(**raw, repo_path=REPO))


def _applied(config: RepoConfig) -> FeatureStore:
    if config.online_store.type == "sqlite":
        _readers_never_wait(REPO / config.online_store.path)
    store = FeatureStore(config=config)
    with _quiet():
        store.apply(list(objects(features_dir())))
    return store


def _readers_never_wait(path: Path) -> None:
    """Write-ahead logging (kept in the file): the feature server reads while a run loads thousands of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def share(folder: Path) -> None:
    """Put the feature files into the object store that ``SLUICE_ARTIFACTS`` names, for those who materialise later."""
    if storage.is_url(place := storage.artifacts()):
        for file in sorted(folder.glob("*_features.parquet")):
            storage.push_file(file, f"{place}/features/{file.name}")


def obtain(folder: Path) -> None:
    """Get the feature files that `share` put; where ``SLUICE_ARTIFACTS`` is a directory they are here already."""
    if storage.is_url(place := storage.artifacts()):
        for source in (thing for thing in objects(folder) if isinstance(thing, FileSource)):
            storage.pull_file(f"{place}/features/{Path(source.path).name}", folder / Path(source.path).name)


def load(store: FeatureStore, current: pd.DataFrame, now: pd.Timestamp) -> None:
    """Load the online store: closed days from the files, the day in progress (``current`` totals) by the push source.

    Passages of earlier runs stay, because a revision that still serves them reads them.
    """
    with _quiet():
        # By name: the registry may hold views of an earlier version, whose files nobody writes any more.
        views = [thing.name for thing in objects(features_dir()) if isinstance(thing, FeatureView)]
        store.materialize(EPOCH.to_pydatetime(), now.to_pydatetime(), views)
        if len(current):
            rows = current[["passage_id", "shown", "up", "down"]].assign(event_timestamp=now)
            store.push("feedback_push", rows, to=PushMode.ONLINE)


def history(store: FeatureStore, passage_ids: Sequence[str], days: pd.DatetimeIndex) -> pd.DataFrame:
    """Features of every passage as known at every one of ``days``: [len(days) * len(passage_ids), 2 + 8] columns."""
    grid = pd.MultiIndex.from_product([days, passage_ids], names=["event_timestamp", "passage_id"])
    with _quiet():
        job = store.get_historical_features(grid.to_frame(index=False), store.get_feature_service(SERVICE))
        return job.to_df()


def online(store: FeatureStore, passage_ids: Sequence[str], chunk: int) -> pd.DataFrame:
    """Features of every passage as the online store holds them now; unknown ones are missing values."""
    service = store.get_feature_service(SERVICE)
    parts = [
        store.get_online_features(service, {"passage_id": list(passage_ids[at : at + chunk])}).to_df()
        for at in range(0, len(passage_ids), chunk)
    ]
    return pd.concat(parts, ignore_index=True)
