"""The training loop: phases, checkpoints that survive a kill, and a line of figures every few minutes."""

import multiprocessing
import queue
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from components.pretrain.augment import Batch, make_batch
from components.pretrain.clips import Clip, Pool
from components.pretrain.measure import Sets, word_errors
from components.pretrain.model import Learner
from components.pretrain.plan import PHASES, SHARDS, Phase, rate_at
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file

SAVE_EVERY = 120.0
MEASURE_EVERY = 240.0
"""Seconds."""
READY_AHEAD = 4


class Trainer:
    """State of one run: model, optimiser and step, kept in ``folder/checkpoint.pt``; resumes from it by itself."""

    def __init__(self, folder: Path, digits: list[Clip], tests: Sets, scale: float, say: Callable[[str], None]) -> None:
        """``digits``: FSDD strings to mix in; ``scale`` multiplies every phase's steps; ``say`` takes lines."""
        torch.manual_seed(1)
        self.folder, self.digits, self.tests, self.say = folder, digits, tests, say
        self.learner = Learner()
        self.optimizer = torch.optim.AdamW(self.learner.parameters(), lr=1e-3, weight_decay=0.02, betas=(0.9, 0.98))
        self.step = 0
        self.steps = [max(1, round(phase.steps * scale)) for phase in PHASES]
        self._path = folder / "checkpoint.pt"
        if self._path.is_file():
            state = torch.load(self._path, weights_only=True)
            self.learner.load_state_dict(state["learner"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = int(state["step"])
            say(f"goes on from step {self.step}")

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state = {"learner": self.learner.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step}
        with atomic_file(self._path) as scratch:
            torch.save(state, scratch)

    def run(self, on_step: Callable[[int, int], None]) -> None:
        """Train through what is left of the phases; ``on_step(step, total)`` moves the progress bar."""
        begun = 0
        for phase, steps in zip(PHASES, self.steps, strict=True):
            left = begun + steps - self.step
            begun += steps
            if left > 0:
                self._phase(phase, left, on_step)
        self.save()

    def _phase(self, phase: Phase, left: int, on_step: Callable[[int, int], None]) -> None:
        saved = measured = time.monotonic()
        losses: list[tuple[float, float]] = []
        for batch in self._batches(phase, left):
            losses = [*losses[-99:], self._learn(batch, phase.ctc)]
            on_step(self.step, sum(self.steps))
            now = time.monotonic()
            if now - saved > SAVE_EVERY:
                self.save()
                saved = now
            if now - measured > MEASURE_EVERY or (left and self.step % 50 == 0 and self.step < 100):
                self._report(phase, losses)
                measured = time.monotonic()
        self.save()
        self._report(phase, losses)

    def _learn(self, batch: Batch, weight: float) -> tuple[float, float]:
        """One step of AdamW in bfloat16 autocast, gradient clipped to 1; the decoder's and the CTC loss before it."""
        self.learner.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, sum(self.steps))
        with torch.autocast("cpu", torch.bfloat16):
            entropy, ctc = self.learner.losses(batch)
        self.optimizer.zero_grad()
        (entropy + weight * ctc).backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        return float(entropy.detach()), float(ctc.detach())

    def _report(self, phase: Phase, losses: list[tuple[float, float]]) -> None:
        entropy, ctc = (sum(column) / len(losses) for column in zip(*losses, strict=True))
        rates = " ".join(f"{name} {word_errors(self.learner, clips).wer:.1%}" for name, clips in self.tests.items())
        self.say(f"{phase.name} step {self.step}/{sum(self.steps)} loss {entropy:.2f} ctc {ctc:.2f} WER {rates}")

    def _batches(self, phase: Phase, count: int) -> Iterator[Batch]:
        """``count`` batches, made by a process beside training (a thread would fight this one for the interpreter)."""
        context = multiprocessing.get_context("spawn")
        ready = context.Queue(READY_AHEAD)
        arguments = (self.folder / "pool", self.digits, phase, count, self.step, ready)
        maker = context.Process(target=make_batches, args=arguments, daemon=True)
        maker.start()
        try:
            for _ in range(count):
                batch = _next(ready, maker)
                if isinstance(batch, BaseException):
                    raise batch
                yield batch
        finally:
            maker.terminate()
            maker.join()


def _next(ready: Any, maker: Any) -> Any:
    """The next batch, or error, of the process that makes them; `SluiceError` when it has died without a word."""
    while True:
        try:
            return ready.get(timeout=5)
        except queue.Empty:
            if not maker.is_alive():
                raise SluiceError(
                    f"pretrain: the process that makes batches ended with {maker.exitcode}; it needs 3 GB of memory"
                ) from None


def make_batches(pool_folder: Path, digits: list[Clip], phase: Phase, count: int, seed: int, ready: Any) -> None:
    """Body of that process: put ``count`` batches of ``phase`` into ``ready``, or the error that stopped it."""
    try:
        pool, rng = Pool(pool_folder, list(phase.shards)), random.Random(seed)
        while not pool.refresh():
            time.sleep(1)
        for at in range(count):
            if at % 50 == 0:
                pool.refresh()
            ready.put(make_batch(pool, digits, phase.size, phase.seconds, rng, phase.joined))
        ready.close()
        ready.join_thread()
    except BaseException as error:  # handed to the process that waits for batches, which raises it
        ready.put(error)


def pool_texts() -> frozenset[str]:
    """Every line that training reads."""
    from components.pretrain.text import sentences

    return frozenset(
        line for shard in SHARDS for line in sentences(shard.count, shard.seed, shard.shortest, shard.longest)
    )
