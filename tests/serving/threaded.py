"""A server in a thread of the test's own process, so that a test can look into its predictor."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serving.contract.task import find_task
from serving.core.limits import Limits
from serving.core.options import Options
from serving.core.server import Server


@dataclass
class Live:
    """Where it listens, and a client for it."""

    url: str
    grpc: str
    client: httpx.Client


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serving(predictor: Any, name: str, limits: Limits, **more: Any) -> Iterator[Live]:
    """``predictor`` behind a whole server of its task as ``name``, revision name-1, four items a batch."""
    http, grpc = free_port(), free_port()
    options = Options(
        name, Path(), "127.0.0.1", http, grpc, max_batch=4, drain=0, revision=f"{name}-1", limits=limits, **more
    )
    started: list[Any] = []

    async def live() -> None:
        server = Server(options, find_task(predictor.bundle.task), lambda _: predictor)
        started.extend((server, asyncio.get_running_loop()))
        await server.live()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{http}", timeout=30) as client:
            while not started or not started[0].model.ready:
                assert thread.is_alive()
                time.sleep(0.01)
            yield Live(f"http://127.0.0.1:{http}", f"127.0.0.1:{grpc}", client)
    finally:
        if started:
            started[1].call_soon_threadsafe(started[0].stop)
        thread.join(30)
