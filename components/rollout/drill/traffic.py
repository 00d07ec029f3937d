"""Users who keep asking while things break: a steady stream through the router, each answer kept with its revision."""

import json
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from serving.contract.access import bearer

if TYPE_CHECKING:
    import pandas as pd


class Traffic:
    """A context: ``rate`` requests/s from ``workers`` connections, until it is left."""

    def __init__(self, url: str, model: str, asked: Sequence[dict[str, Any]], rate: float = 12, workers: int = 4):
        self.address = f"{url}/v1/models/{model}:predict"
        self.bodies = [json.dumps({"instances": [row["instance"]]}).encode() for row in asked]
        self.pause, self.workers = workers / rate, workers
        self.rows: list[dict[str, Any]] = []
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Traffic":
        """Start asking."""
        self._threads = [threading.Thread(target=self._ask, args=(n,), daemon=True) for n in range(self.workers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Let the last answers come, then stop."""
        self._stop.set()
        for thread in self._threads:
            thread.join(40)

    def samples(self) -> "pd.DataFrame":
        """One row a request so far: at (epoch s), status (0 = no connection), revision, error."""
        import pandas as pd

        return pd.DataFrame(list(self.rows), columns=["at", "status", "revision", "error"])

    def _ask(self, number: int) -> None:
        import urllib3

        pool = urllib3.PoolManager(retries=False, timeout=35, maxsize=1)
        headers = {"Content-Type": "application/json"} | bearer()
        due = time.monotonic() + number * self.pause / self.workers
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            due = max(due + self.pause, time.monotonic() - self.pause)
            body = self.bodies[len(self.rows) % len(self.bodies)]
            row: dict[str, Any] = {"at": time.time(), "status": 0, "revision": "", "error": ""}
            try:
                answer = pool.request("POST", self.address, body=body, headers=headers)
                row |= {"status": answer.status, "revision": answer.headers.get("x-sluice-revision", "")}
                row["error"] = "" if answer.status == 200 else answer.data[:200].decode(errors="replace")
            except urllib3.exceptions.HTTPError as error:
                row["error"] = f"{type(error).__name__}: {error}"[:200]
            self.rows.append(row)
