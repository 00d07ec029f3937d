"""Featurize: feed the feature store and read back what training and serving will see."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from components.tasks import find
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file

log = logging.getLogger(__name__)


def run(
    corpus: Path | str, examples: Path | str, settings: Mapping[str, Any], frame: Path | str, snapshot: Path | str
) -> None:
    """Feed the task's entities and the feedback so far to the feature store, then write ``frame`` and ``snapshot``.

    ``settings``: a section of YAML; its ``task`` says whose features (`components.tasks.Features`) they are. frame
    (parquet): the columns of the task's entity_df, by which it is sorted, and the features of SERVICE, as known at
    event_timestamp (microseconds, UTC). snapshot: the join keys of entity_rows and the features of ONLINE, read from
    the online store. What the store does not know is 0, False, "" or []. Running it again gives the same; what changed
    is replaced. Errors: `SluiceError` for a task without features, a missing file or column, an empty corpus, or a
    store or feedback database that does not answer.
    """
    began = time.monotonic()
    features = find(task := str(settings.get("task", ""))).features()
    if features is None:
        raise SluiceError(f"task '{task}': it declares no features; leave the step featurize out of its pipeline")
    chosen = features.Settings.model_validate(dict(settings))
    tables = _read(corpus, features.CORPUS), _read(examples, features.EXAMPLES)
    if tables[0].empty:
        raise SluiceError(f"{corpus}: no rows; check the source that the corpus was made from")
    from components.featurize import store
    from feature_repo.paths import features_dir

    folder = features_dir()
    objects = features.objects(folder)
    with store.locked(folder):
        now = pd.Timestamp.now(tz="UTC").floor("us")
        feedback = features.feedback()
        rows = {**features.from_tables(*tables, feedback, now), **features.from_feedback(feedback, now)}
        if rows.keys() != store.files(objects).keys():
            raise SluiceError(f"features of {task}: rows of {sorted(rows)}, sources {sorted(store.files(objects))}")
        store.write(objects, rows)
        store.share(objects)
        with store.opened(objects) as feast:
            asked, now_asked = features.entity_df(*tables, chosen), features.entity_rows(*tables)
            past = store.history(feast, features.SERVICE, asked)
            store.load(feast, objects, features.pushed(rows, feedback, now), now)
            present = store.online(feast, features.ONLINE, now_asked, chosen.online_chunk)
    lead = asked.columns.tolist()
    _write(past.sort_values(lead), lead, store.types(objects, features.SERVICE), frame)
    _write(present, now_asked.columns.tolist(), store.types(objects, features.ONLINE), snapshot)
    log.info("%d entities, %d rows of history in %.1f s", len(present), len(past), time.monotonic() - began)


def _read(path: Path | str, columns: Sequence[str]) -> pd.DataFrame:
    if not Path(path).is_file():
        raise SluiceError(f"{path}: no such file; run the step validate first")
    if missing := sorted(set(columns) - set(pq.read_schema(path).names)):
        raise SluiceError(f"{path}: no column {', '.join(missing)}; the task's features are made of it")
    return pq.read_table(path, columns=list(columns)).to_pandas()


def _write(rows: pd.DataFrame, lead: Sequence[str], types: Mapping[str, pa.DataType], path: Path | str) -> None:
    """Write the columns ``lead``, then the features; ``types`` are the features', the join keys' and the time's."""
    columns = {name: rows[name] for name in lead}
    columns |= {name: _filled(rows[name], kind) for name, kind in types.items() if name in rows and name not in lead}
    whole = pd.DataFrame(columns)
    found = pa.Schema.from_pandas(whole, preserve_index=False)
    schema = pa.schema([(field.name, types.get(field.name, field.type)) for field in found])
    table = pa.Table.from_pandas(whole, schema, preserve_index=False)
    with atomic_file(path) as scratch:
        pq.write_table(table, scratch, coerce_timestamps="us")


def _filled(values: pd.Series, kind: pa.DataType) -> pd.Series:
    """A feature's values with those that the store does not know as 0, False, "" or []."""
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return pd.to_numeric(values).fillna(0).astype(kind.to_pandas_dtype())
    if pa.types.is_list(kind):
        return values.map(lambda value: [] if value is None or np.isscalar(value) else list(value))
    empty = False if pa.types.is_boolean(kind) else "" if pa.types.is_string(kind) else None
    return values.astype(object).where(values.notna(), empty)
