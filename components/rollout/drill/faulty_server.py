"""A server in front of the real one that makes trouble: late answers, or an end under load.

``python -m components.rollout.drill.faulty_server --delay 0.3 --crash-after 0 -- python -m serving --http-port=8080 …``
starts the command behind ``--`` on a free port and passes requests on. The product itself knows of no fault.
"""

import argparse
import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence

import aiohttp
from aiohttp import web


class Faulty:
    """Passes requests on; predictions wait ``delay`` s first, and after ``crash_after`` of them (0: never) all ends."""

    def __init__(self, inner: str, child: "subprocess.Popen[bytes]", delay: float, crash_after: int) -> None:
        self.inner, self.child, self.delay, self.crash_after = inner, child, delay, crash_after
        self.predictions = 0
        self.session: aiohttp.ClientSession | None = None

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        body = await request.read()
        if request.method == "POST" and ":predict" in request.path:
            self.predictions += 1
            if self.crash_after and self.predictions > self.crash_after:
                self.child.kill()
                os._exit(9)
            await asyncio.sleep(self.delay)
        if self.session is None:
            self.session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3))
        headers = {
            k: v for k, v in request.headers.items() if k.lower() not in ("host", "content-length", "connection")
        }
        try:
            url = f"{self.inner}{request.path_qs}"
            async with self.session.request(request.method, url, data=body, headers=headers) as answer:
                kept = {k: v for k, v in answer.headers.items() if k.lower().startswith(("content-type", "x-"))}
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
        except aiohttp.ClientError:
            return web.Response(status=503, text="not up yet")


def main(arguments: Sequence[str]) -> None:
    """Start both servers and stay until the inner one ends."""
    cut = arguments.index("--")
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--crash-after", type=int, default=0)
    given, command = parser.parse_args(arguments[:cut]), list(arguments[cut + 1 :])
    command[0] = sys.executable if command[0] in ("python", "python3") else command[0]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        inner = free.getsockname()[1]
    outer = next(int(m[1]) for word in command if (m := re.fullmatch(r"--http-port=(\d+)", word)))
    command = [f"--http-port={inner}" if word.startswith("--http-port=") else word for word in command]
    child = subprocess.Popen(command)
    faulty = Faulty(f"http://127.0.0.1:{inner}", child, given.delay, given.crash_after)
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", faulty.handle)
    try:
        web.run_app(app, host="127.0.0.1", port=outer, print=None, access_log=None)
    finally:
        child.terminate()
        child.wait(20)


if __name__ == "__main__":
    main(sys.argv[1:])
