"""One revision's life: listen, load, warm, serve, drain."""

import asyncio
import logging
import resource
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from serving.contract.access import is_local
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.load import load
from serving.contract.predictor import Predictor
from serving.contract.task import Task, find_task
from serving.core.options import Options

UNREAD_MS = 60_000
"""A client that takes nothing of its answer for so long is cut off: it would keep a place at work."""


def run(options: Options) -> int:
    """Serve until SIGTERM or SIGINT. Out: exit code. Errors: `SluiceError` for a bad bundle or a taken port."""
    _more_files()
    task = find_task(Bundle.read(options.model_dir).task, str(options.model_dir))
    try:
        import uvloop

        runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
    except ImportError:
        runner = asyncio.Runner()
    # The model's thread holds the interpreter in short pieces; with the default of 5 ms answers would wait for it.
    sys.setswitchinterval(0.001)
    with runner:
        return runner.run(Server(options, task).live())


class Server:
    """One bundle behind HTTP and gRPC. Listening starts before loading, so that probes are told the truth meanwhile."""

    def __init__(self, options: Options, task: Task, opener: Callable[[Options], Predictor] | None = None) -> None:
        """``opener`` loads and warms the predictor in a thread; the default opens the bundle that the options name."""
        self._listener = _listen(options.host, options.http_port)
        # Imported here: neither `--help`, nor a wrong flag, nor a taken port should pay for kserve.
        from serving.core.app import Routes
        from serving.core.limits import Gate
        from serving.core.metrics import ServerMetrics
        from serving.core.model import ServedModel
        from serving.core.peers import Peers
        from serving.core.request_log import RequestLog
        from serving.feedback import FeedbackStore

        logging.getLogger("kserve").setLevel(logging.WARNING)
        self.options, self._opener = options, opener or _open
        self._log = RequestLog()
        self._metrics = ServerMetrics(options.revision)
        self._feedback = FeedbackStore(keep_days=options.keep_days, votes_a_minute=options.max_votes)
        self._metrics.watch(store=self._feedback, log=self._log)
        self.model = ServedModel(options, task, self._metrics, self._feedback)
        self._peers = Peers.from_environment(options.peers, 6 * options.limits.deadline)
        self._routes = Routes(self.model, self._metrics, self._feedback, self._peers, self._log)
        access, large = replace(options.access, local=is_local(options.host)), self.model.service.large
        about = (options.limits, options.revision, self._metrics, self._log)
        self._gate, self._access = Gate(self._routes, *about, self._routes.intake, access, large), access
        self._stopping = asyncio.Event()
        self._rpc: Any = None

    async def live(self) -> int:
        """From listening to the last answer. Errors: see `run`."""
        http = _uvicorn(self._gate, self.options, self._metrics.refused)
        serving = asyncio.create_task(http.serve(sockets=[self._listener]))
        serving.add_done_callback(lambda _: self.stop())
        try:
            await self._start_grpc()
            self._take_signals()
            await self._load()
            await self._stopping.wait()
            await self._drain()
        finally:
            http.should_exit = True
            await serving
            await self._close()
        return 0

    def stop(self) -> None:
        """Begin to drain; also what SIGTERM and SIGINT do."""
        self._stopping.set()

    async def _load(self) -> None:
        """Load and warm in a thread while probes hear "not ready"; a signal meanwhile ends the wait."""
        loop = asyncio.get_running_loop()
        loading = asyncio.ensure_future(asyncio.to_thread(self._opener, self.options))
        stopping = loop.create_task(self._stopping.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if loading.done():
            self.model.serve(loading.result())
            self._log.write({"event": "ready", "model": self.options.model_name, "revision": self.options.revision})

    async def _drain(self) -> None:
        """Not ready first, then (once routers have seen it) no new connections."""
        self.model.draining = self._gate.draining = True
        self._log.write({"event": "draining", "revision": self.options.revision})
        await asyncio.sleep(self.options.drain)

    async def _start_grpc(self) -> None:
        if self.options.grpc_port == 0:
            return
        from serving.core.rpc import start_grpc

        address, options = f"{self.options.host}:{self.options.grpc_port}", self.options
        self._rpc = await start_grpc(
            address, self._routes, options.limits, options.revision, self._metrics, self._log, self._access
        )

    async def _close(self) -> None:
        if self._rpc is not None:
            await self._rpc.stop(grace=self.options.grace)
        await self.model.close()
        await self._peers.close()
        self._feedback.close()
        self._log.close()

    def _take_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                asyncio.get_running_loop().add_signal_handler(number, self.stop)
            except (RuntimeError, ValueError):  # not in the main thread: whoever embeds the server calls stop()
                return


def _open(options: Options) -> Predictor:
    predictor = load(options.model_dir, options.variant, options.threads)
    predictor.warm()
    return predictor


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named: else asyncio leaves Nagle on
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_MS)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise SluiceError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; name another --http-port"
        ) from error
    return listener


def _uvicorn(app: Any, options: Options, refused: Callable[[int], None]) -> Any:
    import contextlib

    import uvicorn

    from serving.core.connections import bounded

    class Quiet(uvicorn.Server):
        def capture_signals(self) -> Any:
            return contextlib.nullcontext()  # we drain first, then tell it to stop

    config = uvicorn.Config(
        app,
        http=bounded(refused),
        loop="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # `serving.contract.access` says whom to believe; loopback alone is no reason
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=65,
        timeout_graceful_shutdown=options.grace,
        headers=[("x-sluice-revision", options.revision)],
    )
    return Quiet(config)


def _more_files() -> None:
    """A thousand connections need a thousand descriptors, and many shells allow 1,024 though the limit is higher."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(65_536, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
