"""What the controllers of an InferenceService share in both modes: a router with its port, processes, retries."""

import asyncio
import logging
from pathlib import Path
from typing import Any

from serving.laptop.ports import open_port
from serving.laptop.predictor import Patience, Ports, Predictor
from serving.laptop.router import Router, Upstream
from serving.laptop.store import Key, Object, Store

log = logging.getLogger("sluice.laptop")


class Controller:
    """Reconciles one InferenceService; `reconcile` may be called at any time and as often as wanted."""

    def __init__(self, key: Key, store: Store, logs: Path, ports: Ports, patience: Patience):
        self.key = key
        self._store, self._logs, self._ports, self._patience = store, logs, ports, patience
        self.front = Router(key.name)
        self._predictors: dict[str, Predictor] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._closed = "the port is not open yet"
        self._due = False
        self._gone = False

    @property
    def _record(self) -> dict[str, Any]:
        """What outlives a restart: the port, and what may be needed again."""
        services = self._store.extra.setdefault("services", {})
        return services.setdefault(f"{self.key.namespace}/{self.key.name}", {"port": 0, **self._fresh()})

    def _fresh(self) -> dict[str, Any]:
        """The mode's own part of a new record."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Where requests go in."""
        return f"http://127.0.0.1:{self._record['port']}"

    async def open(self, host: str, port_base: int) -> None:
        """Open the port this service had before; a new one takes the first free port from ``port_base``."""
        self._closed = await open_port(self.front, self._store, self._record, host, port_base)

    def workload(self, name: str) -> Upstream | None:
        """Where the Kubernetes Service ``name`` leads, past the split; None where this object has no such Service."""
        return None

    def changed(self) -> None:
        """Something about a predictor changed: sync soon, once for many changes."""
        if not self._due and not self._gone:
            self._due = True
            asyncio.get_running_loop().call_soon(self.reconcile)

    def reconcile(self) -> None:
        """`sync`, and again later where the status could not be saved."""
        self._due = False
        if self._gone:
            return
        try:
            self.sync()
        except OSError as error:  # a full disk must not stop the traffic; the state is saved once there is room
            log.error("%s: state not saved: %s", self.key.name, error)
            asyncio.get_running_loop().call_later(2, self.changed)

    def sync(self) -> None:
        """Bring processes, traffic and status in line with the object. OSError when the status cannot be saved."""
        raise NotImplementedError

    def _set_status(self, old: Object, made: Object) -> None:
        if made == old:
            self._store.save()
        else:
            self._store.set_status(self.key, made)

    def _run(self, revision: str, log_name: str, template: Object, was_ready: bool) -> Predictor:
        log.info("%s: starting %s", self.key.name, log_name)
        return Predictor(
            revision, template, self._logs / f"{log_name}.log", self._ports, self._patience, self.changed, was_ready
        )

    def _stop(self, predictor: Predictor) -> None:
        task = asyncio.get_running_loop().create_task(predictor.stop())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    async def close(self, forget: bool = False) -> None:
        """Stop taking requests, end the processes; ``forget`` drops the port and the revisions as well."""
        self._gone = True
        if forget:  # before anything is waited for: the next object of this name must not find it
            self._store.extra.get("services", {}).pop(f"{self.key.namespace}/{self.key.name}", None)
            self._store.save()
        await self.front.close()
        for predictor in self._predictors.values():
            self._stop(predictor)
        self._predictors.clear()
        if self._stopping:
            await asyncio.gather(*self._stopping, return_exceptions=True)
