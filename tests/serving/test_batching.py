import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from serving.contract.refusals import Refused
from serving.core.batching import Batcher


class Seen:
    """Notes what a batcher reports."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.waiting = 0

    def queued(self, waiting: int) -> None:
        self.waiting = waiting

    def batch(self, size: int, seconds: float) -> None:
        self.sizes.append(size)


class Model:
    """Squares numbers; holds each call until released, and fails on 13."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.started = threading.Event()
        self.calls: list[list[int]] = []

    def __call__(self, numbers: list[int]) -> list[int]:
        self.calls.append(numbers)
        self.started.set()
        assert self.go.wait(10)
        if 13 in numbers:
            raise ArithmeticError("thirteen")
        return [n * n for n in numbers]


def run(
    scene: Callable[[Batcher, Model, Seen], Awaitable[Any]],
    max_batch: int = 8,
    max_queue: int = 100,
    free: bool = False,
) -> None:
    async def play() -> None:
        model, seen = Model(), Seen()
        if free:
            model.go.set()
        batcher = Batcher({"square": model, "other": model}, max_batch, max_queue, seen)
        try:
            await scene(batcher, model, seen)
        finally:
            model.go.set()
            await batcher.close()

    asyncio.run(play())


async def busy_model(batcher: Batcher, model: Model) -> "asyncio.Task[list[int]]":
    """The first request, which holds the model."""
    first = asyncio.create_task(batcher.submit("square", [1]))
    await asyncio.to_thread(model.started.wait, 10)
    return first


def test_what_queues_while_the_model_is_busy_becomes_one_batch() -> None:
    async def scene(batcher: Batcher, model: Model, seen: Seen) -> None:
        first = await busy_model(batcher, model)
        rest = [asyncio.create_task(batcher.submit("square", [n])) for n in range(2, 7)]
        await asyncio.sleep(0)
        assert seen.waiting == 5
        model.go.set()
        assert await first == [1]
        assert await asyncio.gather(*rest) == [[4], [9], [16], [25], [36]]
        assert seen.sizes == [1, 5]
        assert seen.waiting == 0

    run(scene)


def test_a_long_request_is_cut_into_batches_and_keeps_its_order() -> None:
    async def scene(batcher: Batcher, model: Model, seen: Seen) -> None:
        assert await batcher.submit("square", list(range(20, 40))) == [n * n for n in range(20, 40)]
        assert max(seen.sizes) <= 8

    run(scene, free=True)


def test_one_bad_input_does_not_fail_its_neighbours() -> None:
    async def scene(batcher: Batcher, model: Model, seen: Seen) -> None:
        first = await busy_model(batcher, model)
        tasks = [asyncio.create_task(batcher.submit("square", [n])) for n in (12, 13, 14)]
        await asyncio.sleep(0)
        model.go.set()
        results = await asyncio.gather(first, *tasks, return_exceptions=True)
        assert results[:2] == [[1], [144]]
        assert isinstance(results[2], ArithmeticError)
        assert results[3] == [196]

    run(scene)


def test_a_full_queue_refuses_with_429_and_says_when_to_come_back() -> None:
    async def scene(batcher: Batcher, model: Model, seen: Seen) -> None:
        first = await busy_model(batcher, model)
        waiting = [asyncio.create_task(batcher.submit("square", [n])) for n in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(Refused) as refused:
            await batcher.submit("square", [9])
        assert refused.value.status == 429
        assert int(refused.value.headers["retry-after"]) >= 1
        model.go.set()
        await asyncio.gather(first, *waiting)

    run(scene, max_queue=4)


def test_a_request_that_was_given_up_costs_no_work() -> None:
    async def scene(batcher: Batcher, model: Model, seen: Seen) -> None:
        first = await busy_model(batcher, model)
        gone = asyncio.create_task(batcher.submit("square", [2]))
        kept = asyncio.create_task(batcher.submit("square", [3]))
        await asyncio.sleep(0)
        gone.cancel()
        model.go.set()
        assert await kept == [9]
        await first
        assert model.calls == [[1], [3]]
        assert seen.waiting == 0

    run(scene)


def test_kinds_of_work_take_turns() -> None:
    async def scene(batcher: Batcher, model: Model, seen: Seen) -> None:
        first = await busy_model(batcher, model)
        flood = [asyncio.create_task(batcher.submit("square", [n])) for n in range(10, 12)]
        other = asyncio.create_task(batcher.submit("other", [5]))
        await asyncio.sleep(0)
        model.go.set()
        await asyncio.gather(first, other, *flood)
        assert model.calls[1] == [5]

    run(scene, max_batch=1)
