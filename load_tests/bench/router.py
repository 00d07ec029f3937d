"""The laptop's router alone, before one address: what it costs is measured with and without it.

``python -m load_tests.bench.router PORT ADDRESS``
"""

import asyncio
import sys


async def serve(port: int, address: str) -> None:
    """Pass everything that comes to ``port`` on to ``address``, until cancelled."""
    from serving.laptop.router import Router, Upstream

    upstream = Upstream("bench")
    upstream.address, upstream.ready = address, True
    router = Router("bench")
    router.route({"bench": upstream}, {"bench": 100})
    await router.listen("127.0.0.1", port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
