"""One InferenceGraph, made true: its address answers, its status tells which service is missing."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from serving.contract.modes import STANDARD, deployment_mode
from serving.laptop.graph.front import Front, Target
from serving.laptop.ports import open_port
from serving.laptop.standard.rules import workloads
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
        return records.setdefault(f"{self.key.namespace}/{self.key.name}", {"port": 0, "resolved": {}})

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
        self._resolve(obj)
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

    def _resolve(self, obj: Object) -> None:
        """In Standard mode a name leads to stable's Service as it was when the graph was written, as KServe has it."""
        record = self._record
        generation = obj["metadata"]["generation"] if deployment_mode(obj) == STANDARD else 0
        if record.get("generation") != generation:
            record |= {"generation": generation, "resolved": {}}
        for name in services(obj) if generation else ():
            if name not in record["resolved"] and (address := self._told(name).get("address")):
                record["resolved"][name] = address["url"]

    def _told(self, service: str) -> Object:
        """The status of an InferenceService; empty where there is none."""
        found = self._store.objects.get(Key("inferenceservices", self.key.namespace, service)) or {}
        return found.get("status") or {}

    def _where(self, service: str) -> Target | None:
        """An InferenceService: its route is that of the first protocol its runtime names, as KServe has it."""
        told = self._told(service)
        address = self._record["resolved"].get(service) if self._record.get("generation") else told.get("url")
        if not address:
            return None
        name = told.get("servingRuntimeName", "")
        runtime = self._store.objects.get(Key("servingruntimes", self.key.namespace, name)) or {"spec": {}}
        protocols = [p for p in runtime["spec"].get("protocolVersions") or ["v1"] if p in ("v1", "v2")]
        route = f"/v2/models/{service}/infer" if protocols[:1] == ["v2"] else f"/v1/models/{service}:predict"
        return Target(f"{address}{route}", str(told.get("url") or ""))

    def _gone_services(self, obj: Object) -> list[str]:
        """Services of predictors that steps go to and that are not there any more."""
        here = f"http://127.0.0.1:{self._store.extra.get('api_port', 0)}/peers/"
        urls = [step.get("serviceUrl", "") for node in obj["spec"]["nodes"].values() for step in node["steps"]]
        named = [urlsplit(url).path.split("/")[2] for url in urls if url.startswith(here)]
        named += [url.removeprefix(here) for url in self._record["resolved"].values()]
        there = {key.name for key in self._store.objects if key.namespace == self.key.namespace}
        for service in self._store.select("inferenceservices", self.key.namespace):
            if deployment_mode(service) == STANDARD:
                there |= {workload.name for workload in workloads(service)}
        return sorted(set(named) - there)

    def _status(self, obj: Object) -> Object:
        names, mode = services(obj), deployment_mode(obj)
        missing = [name for name in names if self._where(name) is None]
        standard = [name for name in names if self._told(name).get("deploymentMode") == STANDARD]
        made = {"type": "Ready", "status": "True"}
        if self._closed:
            made |= {"status": "False", "reason": "PortInUse", "message": self._closed}
        elif missing:
            message = f"waits for InferenceService {', '.join(missing)}"
            made |= {"status": "False", "reason": "ServiceNotReady", "message": message}
        elif mode != STANDARD and standard:
            message = f"{', '.join(standard)} runs in Standard mode: without Knative a graph in {mode} mode is an error"
            made |= {"status": "False", "reason": "ServerlessModeRejected", "message": message}
        elif gone := self._gone_services(obj):
            message = (
                f"a step goes to the Service {', '.join(gone)}, which is not there (any more: a promotion deletes it); "
                "KServe says Ready here. Name the InferenceService's URL in serviceUrl"
            )
            made |= {"status": "False", "reason": "ServiceGone", "message": message}
        old: Object = next(iter(obj.get("status", {}).get("conditions", [])), {})
        same = {k: v for k, v in old.items() if k != "lastTransitionTime"} == made
        made["lastTransitionTime"] = old["lastTransitionTime"] if same else now()
        status = {
            "observedGeneration": obj["metadata"]["generation"],
            "deploymentMode": mode,
            "conditions": [made],
        }
        return status if self._closed else {**status, "url": self.url}


def services(obj: Object) -> list[str]:
    """Names of the InferenceServices that a graph's steps go to, each once."""
    steps = [step for node in obj["spec"]["nodes"].values() for step in node["steps"]]
    return list(dict.fromkeys(step["serviceName"] for step in steps if step.get("serviceName")))
