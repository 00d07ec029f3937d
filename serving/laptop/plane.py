"""The control plane: one store, one API, one object a service or graph; started and stopped as one."""

import asyncio
import contextlib
import functools
import logging
import os
import resource
import secrets
import signal
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from yarl import URL

from serving.contract.errors import SluiceError
from serving.contract.modes import KNATIVE, STANDARD, deployment_mode
from serving.laptop import process
from serving.laptop.admission import loopback
from serving.laptop.api import application
from serving.laptop.certificate import certificate
from serving.laptop.controller import Controller
from serving.laptop.graph.controller import Graph
from serving.laptop.listener import Port
from serving.laptop.predictor import Patience, Ports
from serving.laptop.router import Upstream, deliver, refusal
from serving.laptop.service import Service
from serving.laptop.standard.controller import StandardService
from serving.laptop.store import Key, Store

log = logging.getLogger("sluice.laptop")


@dataclass(frozen=True)
class Options:
    """What the command line says; ``api_port`` 0 means the port of last time, or else a free one."""

    home: Path
    host: str = "127.0.0.1"
    api_port: int = 0
    port_base: int = 8080
    patience: Patience = field(default_factory=Patience)


class Plane:
    """Holds everything together. The API calls `changed` and `removed` after each write."""

    def __init__(self, options: Options):
        self._options = options
        loopback(options.host)
        try:
            self.store = Store(options.home / "state.json")
        except ValueError as error:
            raise SluiceError(
                f"{options.home / 'state.json'} cannot be read ({error}); move it away to start afresh"
            ) from None
        self._ports = Ports()
        self._services: dict[Key, Controller | Graph] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None
        self._api = (Port(), Port())  # plain, and with TLS
        self.certificate = certificate()
        self.secure = ""
        self.token = secrets.token_urlsafe(32)  # a new one at every start; clients read it from the kubeconfig

    async def changed(self, key: Key) -> None:
        """An object was created or changed: bring what depends on it in line."""
        if key.plural == "servingruntimes":
            for service in self._services.values():
                if service.key.namespace == key.namespace:
                    service.changed()
            return
        if key not in self._services:
            service = self._made(key)
            self._services[key] = service
            await service.open(self._options.host, self._options.port_base)
        self._services[key].reconcile()

    def _made(self, key: Key) -> Controller | Graph:
        if key.plural == "inferencegraphs":
            return Graph(key, self.store)
        made = {KNATIVE: Service, STANDARD: StandardService}[deployment_mode(self.store.get(key))]
        return made(key, self.store, self._options.home / "logs", self._ports, self._options.patience)

    async def peer(self, request: web.Request) -> web.StreamResponse:
        """``/peers/<name>/<path>``: what a cluster's DNS does for a service that asks another, or a graph, by name.

        The Service of one predictor in Standard mode has such a name too.
        """
        name, path = request.match_info["name"], request.raw_path.split("/", 3)[3]
        inner = request.clone(rel_url=URL(f"/{path}", encoded=True))
        for key, service in self._services.items():
            if key.name == name:
                return await service.front.handle(inner)
            upstream = service.workload(name) if isinstance(service, Controller) else None
            if upstream is not None:
                # A Service, with no router in front: a canary's gate must see each of its crashes.
                return await deliver(functools.partial(_there, upstream), key.name, inner, patient=False)
        return refusal(503, f"there is no InferenceService or InferenceGraph {name!r} here (yet)", "")

    def removed(self, key: Key) -> None:
        """An object was deleted: its processes end in the background, as a cluster's would."""
        service = self._services.pop(key, None)
        if service is not None:
            task = asyncio.get_running_loop().create_task(service.close(forget=True))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def open(self) -> str:
        """Start the API and every service that was there last time; return the API's URL."""
        self._runner = web.AppRunner(application(self, self.token), access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        port = await self._listen()
        assert self._runner.server is not None
        secure = await self._api[1].open(self._runner.server, self._options.host, 0, self.certificate.context)
        self.secure = f"https://{self._options.host}:{secure}"
        self.store.extra["api_port"] = port
        # The address of every sibling, for the predictors that we start; see `serving.laptop.template`.
        os.environ["SLUICE_PEERS"] = f"http://127.0.0.1:{port}/peers/{{name}}"
        for plural in ("inferenceservices", "inferencegraphs"):
            for key in [k for k in self.store.objects if k.plural == plural]:
                await self.changed(key)
        return f"http://{self._options.host}:{port}"

    async def _listen(self) -> int:
        """The port asked for, or that of last time, or any free one."""
        assert self._runner is not None and self._runner.server is not None
        asked = self._options.api_port
        for port in [asked] if asked else [int(self.store.extra.get("api_port", 0)), 0]:
            try:
                return await self._api[0].open(self._runner.server, self._options.host, port)
            except OSError:
                continue
        raise SluiceError(f"port {asked} of {self._options.host} is in use; name another --api-port")

    async def close(self) -> None:
        """Stop taking requests, drain, end every process."""
        closing = [service.close() for service in self._services.values()]
        await asyncio.gather(*closing, *self._closing, return_exceptions=True)
        for port in self._api:
            port.close()
        if self._runner is not None:
            await self._runner.cleanup()


async def run(options: Options) -> None:
    """Run a control plane until SIGTERM or SIGINT. SluiceError when the home is taken or a port is in use."""
    lock = process.hold(options.home)
    _more_files()
    stop = asyncio.Event()
    for sign in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sign, stop.set)
    plane = Plane(options)
    try:
        api = await plane.open()
        process.announce(options.home, process.Access(api, plane.secure, plane.certificate.text, plane.token))
        log.info("API at %s; kubeconfig %s", api, options.home / process.KUBECONFIG)
        await stop.wait()
        log.info("stopping")
    finally:
        await plane.close()
        lock.close()


def _there(upstream: Upstream, _: Upstream | None) -> Upstream:
    return upstream


def _more_files() -> None:
    """Every request holds two sockets, and the usual soft limit of 1,024 open files would end at 500 clients."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
