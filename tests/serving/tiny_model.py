"""A model server in a few lines, a foreign program to the control plane: it answers what answer.txt says."""

import argparse
import asyncio
import json
import os
import signal
from pathlib import Path

from aiohttp import web


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model-dir", type=Path)
    parser.add_argument("--http-port", type=int)
    given = parser.parse_args()
    answer = (given.model_dir / "answer.txt").read_text()

    async def predict(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if b"die" in body:
            os._exit(7)
        await asyncio.sleep(float(request.query.get("sleep", 0)))
        return web.json_response({"answer": answer, "bytes": len(body), "revision": os.environ["K_REVISION"]})

    async def infer(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if body == b"die":
            os._exit(7)
        asked = sorted(json.loads(body)) if body[:1] == b"{" else [request.content_type, len(body)]
        return web.json_response({"predictions": [{"text": answer, "asked": asked}]}, headers={"x-request-id": "7"})

    async def page(request: web.Request) -> web.StreamResponse:
        return web.json_response({"answer": answer, "peers": os.environ["SLUICE_PEERS"]})

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response

    async def ready(request: web.Request) -> web.Response:
        return web.Response(status=503 if (given.model_dir / "not-ready").exists() else 200)

    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.post("/predict", predict), web.post("/stream", stream), web.get("/v2/models/{n}/ready", ready)])
    app.add_routes([web.post("/v1/models/{n}:predict", infer), web.get("/", page)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", given.http_port, backlog=1024).start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()


asyncio.run(main())
