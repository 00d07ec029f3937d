"""A predictor that crashes costs a short wait; what was asked is asked again only where that is safe."""

import asyncio
import contextlib
import os
import signal

import aiohttp
import pytest
from laptop_driver import run_laptop
from test_laptop_faults import children
from threaded import free_port

from serving.laptop import router
from serving.laptop.router import Router, Upstream

SMALL, LARGE = b"{}", b"x" * 200_000


@contextlib.asynccontextmanager
async def routed(port: int):
    upstream, front, own = Upstream("asks-1"), Router("asks"), free_port()
    upstream.address, upstream.ready = f"http://127.0.0.1:{port}", True
    front.route({"asks-1": upstream}, {"asks-1": 100})
    await front.listen("127.0.0.1", own)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{own}") as session:
        yield session, upstream, front
    await front.close()
    await upstream.close()


@contextlib.asynccontextmanager
async def backend(port: int, answers: bool, heard: list[str]):
    """A server that notes what it is asked, and answers with 200 or breaks the connection."""

    async def one(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            heard.append((await reader.readuntil(b"\r\n\r\n")).partition(b" HTTP/")[0].decode())
            if answers:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", port)
    yield
    server.close()


@pytest.mark.parametrize(
    ("method", "path", "body", "times"),
    [
        ("GET", "/page", None, 2),
        ("HEAD", "/page", None, 2),
        ("POST", "/v1/models/asks:predict", SMALL, 2),
        ("POST", "/v2/models/asks/infer", SMALL, 2),
        ("POST", "/openai/v1/embeddings", SMALL, 2),
        ("POST", "/v1/models/asks:predict", LARGE, 1),  # its bytes are gone
        ("POST", "/feedback", SMALL, 1),
        ("POST", "/feedback/v1/models/asks:predict", SMALL, 1),
        ("POST", "/peers/asks/feedback", SMALL, 1),
        ("POST", "/v1/models/asks:explain", SMALL, 1),
        ("PUT", "/v1/models/asks:predict", SMALL, 1),
        ("DELETE", "/page", None, 1),
    ],
)
def test_what_broke_off_is_asked_once_more_if_that_changes_nothing(method, path, body, times):
    async def ask():
        heard, port = [], free_port()
        async with backend(port, False, heard), routed(port) as (session, _, _):
            answer = await session.request(method, path, data=body)
            return answer.status, answer.headers["Retry-After"], heard

    status, later, heard = asyncio.run(ask())
    assert (status, later, heard) == (503, "1", [f"{method} {path}"] * times)


@pytest.mark.parametrize("body", [SMALL, LARGE])
@pytest.mark.parametrize("path", ["/feedback", "/v1/models/asks:predict"])
def test_what_was_never_sent_waits_for_the_predictor_and_is_sent_once(path, body):
    async def ask():
        heard, port = [], free_port()
        async with routed(port) as (session, upstream, _):
            asking = asyncio.create_task(session.post(path, data=body))
            await asyncio.sleep(0.3)  # nobody listens yet
            upstream.ready = False
            await asyncio.sleep(0.3)
            assert (upstream.in_flight, asking.done()) == (0, False)
            async with backend(port, True, heard):
                upstream.ready = True
                async with await asking as answer:
                    return answer.status, heard

    assert asyncio.run(ask()) == (200, [f"POST {path}"])


def test_a_wait_has_an_end_and_a_revision_that_was_withdrawn_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(router, "WAIT_S", 0.4)

    async def ask():
        heard, port = [], free_port()
        async with backend(port, True, heard), routed(port) as (session, upstream, front):
            upstream.ready = False
            async with session.post("/feedback", data=SMALL) as answer:
                assert (answer.status, answer.headers["x-sluice-revision"]) == (503, "asks-1")
                assert "being restarted" in (await answer.json())["error"]
            monkeypatch.setattr(router, "WAIT_S", 20)
            asking = asyncio.create_task(session.get("/page"))
            await asyncio.sleep(0.2)
            other = Upstream("asks-2")
            other.address, other.ready = upstream.address, True
            front.route({"asks-1": upstream, "asks-2": other}, {"asks-1": 0, "asks-2": 100})
            async with await asking as answer:
                assert (answer.status, answer.headers["x-sluice-revision"]) == (200, "asks-2")
            await other.close()

    asyncio.run(ask())


def test_no_question_fails_while_a_killed_predictor_comes_back(tmp_path):
    laptop = next(running := run_laptop(tmp_path, 19000))
    url = laptop.create("killed", laptop.model("said"))

    async def under_load():
        seen, stop = [], asyncio.Event()

        async def keep_asking(session):
            while not stop.is_set():
                async with session.post(f"{url}/v1/models/killed:predict", data=SMALL) as answer:
                    await answer.read()
                    seen.append(answer.status)

        async with aiohttp.ClientSession() as session:
            asking = [asyncio.create_task(keep_asking(session)) for _ in range(8)]
            await asyncio.sleep(0.3)
            (pid,) = children(laptop.process.pid)
            os.kill(pid, signal.SIGKILL)
            before = len(seen)
            while len(seen) < before + 100:
                await asyncio.sleep(0.05)
            stop.set()
            await asyncio.gather(*asking)
        return seen, pid

    try:
        seen, pid = asyncio.run(under_load())
        assert set(seen) == {200}
        assert children(laptop.process.pid) != [pid]
    finally:
        running.close()
