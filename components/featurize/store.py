"""The feature store at work: register, load, and read back what a task declares."""

import contextlib
import fcntl
import io
import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from feast import Entity, FeatureService, FeatureStore, FeatureView, FileSource, RepoConfig
from feast.data_source import PushMode
from feast.types import from_feast_to_pyarrow_type, from_value_type

from components.common import storage
from feature_repo.paths import REPO, config_file
from serving.contract.files import atomic_file

logging.getLogger("feast").setLevel(logging.WARNING)

EPOCH = pd.Timestamp(0, tz="UTC")
STAMP = pa.timestamp("us", tz="UTC")
Objects = Sequence[Any]


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
def opened(objects: Objects) -> Iterator[FeatureStore]:
    """A store with ``objects`` applied; its registry file is replaced in one move when the block succeeds.

    Feast writes its registry in place, several times a run; a feature server that reads at that moment, or a run that
    is killed there, would find half a file. So all writes go to a copy.
    """
    with config_file().open() as stream:
        raw = yaml.safe_load(os.path.expandvars(stream.read()))
    target = _registry_file(raw)
    if target is None:
        yield _applied(RepoConfig(**raw, repo_path=REPO), objects)
        return
    with atomic_file(target) as scratch:
        if target.exists():
            shutil.copyfile(target, scratch)
        else:
            scratch.unlink()
        raw["registry"] = {"registry_type": "file", "path": str(scratch)}
        yield _applied(RepoConfig(**raw, repo_path=REPO), objects)


def _applied(config: RepoConfig, objects: Objects) -> FeatureStore:
    if config.online_store.type == "sqlite":
        _readers_never_wait(REPO / config.online_store.path)
    store = FeatureStore(config=config)
    with _quiet():
        store.apply(list(objects))
    return store


def _readers_never_wait(path: Path) -> None:
    """Write-ahead logging (kept in the file): the feature server reads while a run loads thousands of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def files(objects: Objects) -> dict[str, Path]:
    """The parquet file of every source, by the source's name."""
    return {thing.name: Path(thing.path) for thing in objects if isinstance(thing, FileSource)}


def types(objects: Objects, service: str) -> dict[str, pa.DataType]:
    """Arrow types of what a feature service gives: its entities' join keys, event_timestamp, its features in order."""
    named = next(thing for thing in objects if isinstance(thing, FeatureService) and thing.name == service)
    views = {view.name: view for view in _views(objects)}
    found: dict[str, pa.DataType] = {}
    for projection in named.feature_view_projections:
        found |= _keys(views[projection.name], objects)
    fields = [field for projection in named.feature_view_projections for field in projection.features]
    return {**found, "event_timestamp": STAMP, **{f.name: from_feast_to_pyarrow_type(f.dtype) for f in fields}}


def write(objects: Objects, rows: Mapping[str, pd.DataFrame]) -> None:
    """Write the files of sources, each whole or not at all: join keys, event_timestamp, features.

    Microseconds, as DuckDB reads them. Of several rows of one entity at one time the last counts: Feast takes any.
    """
    for view in _views(objects):
        if (name := view.batch_source.name) in rows:
            features = [(field.name, from_feast_to_pyarrow_type(field.dtype)) for field in view.features]
            keys = {**_keys(view, objects), "event_timestamp": STAMP}
            single = rows[name].drop_duplicates(list(keys), keep="last")
            table = pa.Table.from_pandas(single, pa.schema([*keys.items(), *features]), preserve_index=False)
            with atomic_file(files(objects)[name]) as scratch:
                pq.write_table(table, scratch, coerce_timestamps="us")


def _views(objects: Objects) -> list[FeatureView]:
    return [thing for thing in objects if isinstance(thing, FeatureView)]


def _keys(view: FeatureView, objects: Objects) -> dict[str, pa.DataType]:
    """Join keys of a view's entities with their Arrow types."""
    entities = [thing for thing in objects if isinstance(thing, Entity) and thing.name in view.entities]
    return {one.join_key: from_feast_to_pyarrow_type(from_value_type(one.value_type)) for one in entities}


def share(objects: Objects) -> None:
    """Put the feature files into the object store that ``SLUICE_ARTIFACTS`` names, for those who materialise later."""
    if storage.is_url(place := storage.artifacts()):
        for file in files(objects).values():
            storage.push_file(file, f"{place}/features/{file.name}")


def obtain(objects: Objects) -> None:
    """Get the feature files that `share` put; where ``SLUICE_ARTIFACTS`` is a directory they are here already."""
    if storage.is_url(place := storage.artifacts()):
        for file in files(objects).values():
            storage.pull_file(f"{place}/features/{file.name}", file)


def load(store: FeatureStore, objects: Objects, pushed: Mapping[str, pd.DataFrame], now: pd.Timestamp) -> None:
    """Load the online store: what is closed from the files, what is in progress (``pushed``) by the push sources.

    Entities of earlier runs stay, because a revision that still serves them reads them.
    """
    with _quiet():
        # By name: the registry may hold views of an earlier version, whose files nobody writes any more.
        store.materialize(EPOCH.to_pydatetime(), now.to_pydatetime(), [view.name for view in _views(objects)])
        for name, rows in pushed.items():
            if len(rows):
                store.push(name, rows, to=PushMode.ONLINE)


def history(store: FeatureStore, service: str, entity_df: pd.DataFrame) -> pd.DataFrame:
    """The columns of ``entity_df`` [n rows] and the service's features, as known at each row's event_timestamp."""
    with _quiet():
        return store.get_historical_features(entity_df, store.get_feature_service(service)).to_df()


def online(store: FeatureStore, service: str, entity_rows: pd.DataFrame, chunk: int) -> pd.DataFrame:
    """Join keys and features of every entity as the online store holds them now; unknown ones are missing values."""
    named = store.get_feature_service(service)
    parts = [
        store.get_online_features(named, entity_rows[at : at + chunk].to_dict("list")).to_df()
        for at in range(0, len(entity_rows), chunk)
    ]
    return pd.concat(parts, ignore_index=True)
