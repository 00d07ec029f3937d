"""Features at serving time: the bundle's snapshot at once, the online store's values as soon as they arrive.

A request reads plain arrays from memory. One thread asks the feature server now and then; while it cannot, the values
of the last refresh (at first: the snapshot) stay in use. Which entity's rows, and which columns, the task says.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

import httpx
import numpy as np
import pandas as pd

from serving.contract.task import EntityFeatures

log = logging.getLogger(__name__)

_CHUNK = 2000
_SHARE = 0.05

Columns = dict[str, np.ndarray]


class OnlineFeatures:
    """The columns of ``features``, aligned with the rows named ``ids``, kept fresh from the feature server at ``url``.

    ``snapshot``: the entity's ids and their columns, as packed; rows it lacks get 0 and "".
    ``url`` empty: the snapshot for good. The next refresh starts ``every_s`` after the last one, later when a refresh
    takes long: the feature server spends at most a twentieth of its time on one revision.
    ``refreshed_at``: epoch seconds of the last complete refresh (None before); ``refresh_s``: seconds it took;
    ``failures``: refreshes that failed.
    """

    def __init__(
        self, features: EntityFeatures, ids: Sequence[str], snapshot: pd.DataFrame, url: str = "", every_s: float = 15
    ) -> None:
        """Take the snapshot and start the thread; nothing is waited for."""
        self._features, self._ids = features, list(ids)
        self._columns = from_snapshot(features, self._ids, snapshot)
        self._url, self._every_s = url.rstrip("/"), every_s
        self.refreshed_at: float | None = None
        self.refresh_s = 0.0
        self.failures = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="online-features", daemon=True)
        if self.live:
            self._thread.start()

    @property
    def live(self) -> bool:
        """Whether a feature server is asked at all."""
        return bool(self._url and self._ids)

    def columns(self) -> Columns:
        """One array a column, [len(ids)]: texts as object (str), the others int64. Do not write to them."""
        return self._columns

    def close(self) -> None:
        """Stop the thread; a read in flight ends within its timeout."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(timeout=6)

    def _loop(self) -> None:
        with httpx.Client(timeout=5, trust_env=False) as client:
            while not self._closing.is_set():
                began = time.monotonic()
                try:
                    self._refresh(client)
                except (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError) as error:
                    self.failures += 1
                    log.warning("online features: kept the last values, %s does not answer: %r", self._url, error)
                took = time.monotonic() - began
                self._closing.wait(max(self._every_s, took / _SHARE))

    def _refresh(self, client: httpx.Client) -> None:
        began = time.monotonic()
        fresh = {name: values.copy() for name, values in self._columns.items()}
        for at in range(0, len(self._ids), _CHUNK):
            chunk = self._ids[at : at + _CHUNK]
            for name, values in read_online(client, self._url, self._features, chunk).items():
                known = np.fromiter((value is not None for value in values), bool, len(chunk))
                fresh[name][at : at + len(chunk)][known] = [value for value in values if value is not None]
            if self._closing.is_set():
                return
        self._columns = fresh
        self.refresh_s = time.monotonic() - began
        self.refreshed_at = time.time()


def read_online(client: httpx.Client, url: str, features: EntityFeatures, ids: Sequence[str]) -> dict[str, list[Any]]:
    """One read of the feature server at ``url``: of each column a value for each of ``ids``, or ``None``.

    The answer's shape: metadata.feature_names and, in their order, results[].values, the entity's own column among them
    (Feast 0.67, feature_server.py). Errors: httpx's, ValueError for a column of another length, KeyError.
    """
    body = {"feature_service": features.service, "entities": {features.entity: list(ids)}}
    answer = client.post(f"{url}/get-online-features", json=body)
    answer.raise_for_status()
    said = answer.json()
    found = {}
    for name, result in zip(said["metadata"]["feature_names"], said["results"], strict=True):
        if name in (*features.numbers, *features.texts):
            found[name] = result["values"]
            if len(found[name]) != len(ids):
                raise ValueError(f"{name}: {len(found[name])} values for {len(ids)} rows of {features.entity}")
    return found


def from_snapshot(features: EntityFeatures, ids: Sequence[str], snapshot: pd.DataFrame) -> Columns:
    """Columns aligned with ``ids``; what the snapshot lacks is 0 or ""."""
    rows = snapshot.drop_duplicates(features.entity).set_index(features.entity).reindex(list(ids))
    out: Columns = {}
    for name in (*features.texts, *features.numbers):
        values = rows[name] if name in rows else pd.Series(np.nan, index=rows.index)
        if name in features.texts:
            out[name] = values.astype(object).where(values.notna(), "").to_numpy(dtype=object)
        else:
            out[name] = values.fillna(0).to_numpy(dtype=np.int64)
    return out
