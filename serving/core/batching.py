"""Dynamic batching without a timer: whatever queued while the model was busy becomes the next batch.

At low load a request waits for nothing; under load the batches grow by themselves. Measured against a fixed window
of 5 ms, which makes every request at low load later and batches no better at high load.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from serving.contract.refusals import busy, not_ready

Work = Callable[[list[Any]], Sequence[Any]]


class Watcher(Protocol):
    """What a batcher reports to: the items waiting, and each batch with its size and seconds."""

    def queued(self, waiting: int) -> None:
        """``waiting`` items stand in the queue now."""

    def batch(self, size: int, seconds: float) -> None:
        """A batch of ``size`` items took ``seconds``."""


@dataclass(eq=False, slots=True)
class _Job:
    items: list[Any]
    done: "asyncio.Future[list[Any]]"


class Batcher:
    """One model, one worker thread, one bounded queue for each kind of work.

    ``works`` maps a kind (predict, embed) to the function that handles a list of items and returns one result each, in
    order. At most ``max_batch`` items go to it at once; at most ``max_queue`` items wait, the next is refused with 429.
    """

    def __init__(self, works: Mapping[str, Work], max_batch: int, max_queue: int, watcher: Watcher) -> None:
        self._works, self.max_batch, self._max_queue, self._watcher = works, max_batch, max_queue, watcher
        self._queues: dict[str, deque[_Job]] = {kind: deque() for kind in works}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._item_seconds = 0.001
        self._closed = False
        self.waiting = 0

    async def submit(self, kind: str, items: list[Any]) -> list[Any]:
        """Results of ``items``, in order. Errors: `Refused` 429 if the queue is full; whatever the work raises."""
        if self._closed:
            raise not_ready("the server is shutting down")
        if self.waiting and self.waiting + len(items) > self._max_queue:
            raise busy(f"{self.waiting} inputs are waiting, more than fit", self._retry_after())
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = loop.create_task(self._run())
        # A request larger than a batch is cut, so that it does not hold everyone else up.
        size = self.max_batch
        jobs = [_Job(items[at : at + size], loop.create_future()) for at in range(0, len(items), size)]
        self._queues[kind].extend(jobs)
        self._count(len(items))
        self._wake.set()
        try:
            if len(jobs) == 1:
                return await jobs[0].done
            return [result for part in await asyncio.gather(*(job.done for job in jobs)) for result in part]
        finally:
            for job in jobs:
                job.done.cancel()

    async def close(self) -> None:
        """Refuse new work, finish what waits, stop the thread."""
        self._closed = True
        while self.waiting:
            await asyncio.sleep(0.01)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._thread.shutdown(wait=True)

    async def _run(self) -> None:
        kinds = deque(self._works)
        while True:
            while not any(self._queues.values()):
                self._wake.clear()
                await self._wake.wait()
            # Kinds take turns: a flood of one starves no other.
            while not self._queues[kinds[0]]:
                kinds.rotate(-1)
            kind = kinds[0]
            kinds.rotate(-1)
            jobs = self._take(self._queues[kind])
            if jobs:
                await self._work(self._works[kind], jobs)

    def _take(self, queue: deque[_Job]) -> list[_Job]:
        jobs: list[_Job] = []
        size = 0
        while queue and (not jobs or size + len(queue[0].items) <= self.max_batch):
            job = queue.popleft()
            if job.done.done():  # its client has gone, or its deadline has passed
                self._count(-len(job.items))
                continue
            jobs.append(job)
            size += len(job.items)
        return jobs

    async def _work(self, work: Work, jobs: list[_Job]) -> None:
        items = [item for job in jobs for item in job.items]
        self._count(-len(items))
        started = time.perf_counter()
        try:
            results = await asyncio.get_running_loop().run_in_executor(self._thread, work, items)
        except Exception as error:
            if len(jobs) > 1:  # one bad input must not fail its neighbours
                for job in jobs:
                    self._count(len(job.items))
                    await self._work(work, [job])
            elif not jobs[0].done.done():
                jobs[0].done.set_exception(error)
            return
        seconds = time.perf_counter() - started
        self._item_seconds += 0.1 * (seconds / len(items) - self._item_seconds)
        self._watcher.batch(len(items), seconds)
        at = 0
        for job in jobs:
            if not job.done.done():
                job.done.set_result(list(results[at : at + len(job.items)]))
            at += len(job.items)

    def _count(self, change: int) -> None:
        self.waiting += change
        self._watcher.queued(self.waiting)

    def _retry_after(self) -> int:
        return max(1, min(30, math.ceil(self.waiting * self._item_seconds)))
