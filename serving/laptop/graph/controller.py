"""One InferenceGraph, made true: its address answers, its status tells which service is missing."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from serving.laptop.graph.front import Front
from serving.laptop.ports import open_port
from serving.laptop.store import Key, Object, Store, now

log = logging.getLogger("sluice.laptop")


class Graph:
    """Reconciles one InferenceGraph, also when one of its services changes."""

    def __init__(self, key: Key, store: Store):
        self.key, self._store = key, store
        self.front = Front(self._where)
        self._closed = "the port is not open yet"
        self._due = self._gone = False
        self._forget: Callable[[], None] = store.watch(self._noticed)

    @property
    def url(self) -> str:
        """Where requests go in."""
        return f"http://127.0.0.1:{self._record['port']}"

    @property
    def _record(self) -> dict[str, Any]:
        records: dict[str, dict[str, Any]] = self._store.extra.setdefault("graphs", {})
        return records.setdefault(f"{self.key.namespace}/{self.key.name}", {"port": 0})

    async def open(self, host: str, port_base: int) -> None:
        """Open the port this graph had before; a new one takes the first free port from ``port_base``."""
        self._closed = await open_port(self.front, self._store, self._record, host, port_base)

    def changed(self) -> None:
        """A service changed: look again soon, once for many changes."""
        if not self._due and not self._gone:
            self._due = True
            asyncio.get_running_loop().call_soon(self.reconcile)

    def reconcile(self) -> None:
        """Take over the object's spec and write its status, again later where that cannot be saved."""
        self._due = False
        if self._gone or self.key not in self._store.objects:
            return
        obj = self._store.get(self.key)
        self.front.nodes = obj["spec"]["nodes"]
        self.front.timeout = (obj["spec"].get("routerTimeouts") or {}).get("serviceClient")
        try:
            self._store.set_status(self.key, self._status(obj))
        except OSError as error:
            log.error("%s: state not saved: %s", self.key.name, error)
            asyncio.get_running_loop().call_later(2, self.changed)

    async def close(self, forget: bool = False) -> None:
        """Close the port; ``forget`` drops it from the state as well."""
        self._gone = True
        self._forget()
        await self.front.close()
        if forget:
            self._store.extra.get("graphs", {}).pop(f"{self.key.namespace}/{self.key.name}", None)
            self._store.save()

    def _noticed(self, event: str, key: Key, obj: Object) -> None:
        if key.plural == "inferenceservices" and key.namespace == self.key.namespace:
            self.changed()

    def _where(self, service: str) -> tuple[str, str] | None:
        """Address and route of an InferenceService: that of the first protocol its runtime names, as KServe does."""
        found = self._store.objects.get(Key("inferenceservices", self.key.namespace, service))
        url = ((found or {}).get("status") or {}).get("url")
        if not found or not url:
            return None
        name = found["status"].get("servingRuntimeName", "")
        runtime = self._store.objects.get(Key("servingruntimes", self.key.namespace, name)) or {"spec": {}}
        protocols = [p for p in runtime["spec"].get("protocolVersions") or ["v1"] if p in ("v1", "v2")]
        route = f"/v2/models/{service}/infer" if protocols[:1] == ["v2"] else f"/v1/models/{service}:predict"
        return str(url), route

    def _status(self, obj: Object) -> Object:
        steps = [step for node in obj["spec"]["nodes"].values() for step in node["steps"]]
        services = list(dict.fromkeys(step["serviceName"] for step in steps if step.get("serviceName")))
        missing = [name for name in services if self._where(name) is None]
        made = {"type": "Ready", "status": "True"}
        if self._closed:
            made |= {"status": "False", "reason": "PortInUse", "message": self._closed}
        elif missing:
            message = f"waits for InferenceService {', '.join(missing)}"
            made |= {"status": "False", "reason": "ServiceNotReady", "message": message}
        old: Object = next(iter(obj.get("status", {}).get("conditions", [])), {})
        same = {k: v for k, v in old.items() if k != "lastTransitionTime"} == made
        made["lastTransitionTime"] = old["lastTransitionTime"] if same else now()
        status = {
            "observedGeneration": obj["metadata"]["generation"],
            "deploymentMode": "Knative",
            "conditions": [made],
        }
        return status if self._closed else {**status, "url": self.url}
