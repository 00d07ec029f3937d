"""The training loop: one optimizer step after another, the same every time."""

import contextlib
import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from components.base.encoder import TorchEncoder
from components.train.checkpoint import Checkpoint
from components.train.data import Corpus
from components.train.lora import adapter_state, add_adapter, restore_adapter, training_mode
from components.train.loss import info_nce
from components.train.mining import mine, plan
from components.train.settings import Hyperparameters, TrainSettings
from components.train.validation import Validation
from components.train.world import World

Row = dict[str, float]


@dataclass
class Progress:
    """What a run has seen: a row a step and a row an evaluation, and the best adapter so far."""

    steps: list[Row] = field(default_factory=list)
    evaluations: list[Row] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_step: int = 0


def use_bf16(precision: str) -> bool:
    """Whether to train under bfloat16 autocast: as told, or ("auto") where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


def learning_rate(step: int, steps: int, hyper: Hyperparameters, warmup: float) -> float:
    """Linear warmup, then linear decay to zero; ``step`` counts from 0."""
    ramp = max(1, round(steps * warmup))
    return hyper.learning_rate * min((step + 1) / ramp, (steps - step) / max(1, steps - ramp + 1))


def return_memory() -> None:
    """Give freed heap pages back: batches of ever new shapes fragment glibc's heap, to twice the need in 100 steps."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class Trainer:
    """One run over one corpus.

    Everything random is drawn from (seed, step, rank), so a state is: step, adapter, optimizer, history.
    """

    def __init__(
        self,
        encoder: TorchEncoder,
        data: Corpus,
        val: Validation,
        hyper: Hyperparameters,
        settings: TrainSettings,
        world: World | None = None,
    ) -> None:
        self.encoder, self.data, self.val = encoder, data, val
        self.hyper, self.settings, self.world = hyper, settings, world or World()
        encoder.autocast = use_bf16(hyper.precision)
        self.asked = data.questions_of()
        s = settings
        hard = mine(encoder, data, s.hard_negatives, s.mining_depth, s.mining_tokens, s.duplicate)
        self.steps = self._schedule(hard)
        self.parameters = add_adapter(encoder, hyper, s.seed)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=hyper.learning_rate, weight_decay=s.weight_decay)
        self.progress = Progress()
        self.at = 0

    def _schedule(self, hard: list[list[int]]) -> list[list[list[int]]]:
        """Every optimizer step of the run as its micro-batches of passage rows."""
        s, size = self.settings, self.hyper.batch
        epochs = [plan(self.data, hard, size, s.seed, epoch) for epoch in range(math.ceil(s.epochs))]
        batches = [batch for epoch in epochs for batch in epoch][: max(1, round(len(epochs[0]) * s.epochs))]
        each = self.hyper.accumulation
        steps = [batches[at : at + each] for at in range(0, len(batches), each)]
        return steps[: s.max_steps or None]

    def run(
        self,
        checkpoint: Checkpoint | None = None,
        on_eval: Callable[[int, Row], None] | None = None,
        tick: Callable[[int, int, float], None] | None = None,
        baseline: bool = True,
    ) -> Progress:
        """Train to the end, resuming from ``checkpoint``; the best adapter by validation MRR is kept.

        ``on_eval(number, scores)`` may raise to stop the run (pruning); ``tick(step, steps, loss)`` shows progress;
        ``baseline`` also measures the encoder before the first step.
        """
        self.restore(checkpoint.load() if checkpoint else None)
        if self.at:
            print(f"resumed at step {self.at} of {len(self.steps)}", flush=True)
        last = len(self.steps)
        marks = {round(last * part / self.settings.evaluations): part for part in range(self.settings.evaluations + 1)}
        if self.at == 0 and baseline:
            self.evaluate(on_eval, 0)
        while self.at < last:
            loss = self.step(self.at)
            self.at += 1
            if tick:
                tick(self.at, last, loss)
            if self.at in marks:
                self.evaluate(on_eval, marks[self.at])
            if checkpoint and self.world.leads and self.at % self.settings.checkpoint_every == 0:
                checkpoint.save(self.state())
        return self.progress

    def step(self, number: int) -> float:
        """One optimizer step over its micro-batches; returns the mean loss."""
        torch.manual_seed(hash((self.settings.seed, number, self.world.rank)) % 2**31)
        training_mode(self.encoder.model)
        rate = learning_rate(number, len(self.steps), self.hyper, self.settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        total = 0.0
        for part, rows in enumerate(self.steps[number]):
            loss = self.loss(rows, np.random.default_rng([self.settings.seed, number, part]))
            if loss.requires_grad:
                (loss / len(self.steps[number])).backward()
            total += loss.item() / len(self.steps[number])
        self.world.add_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        self.optimizer.step()
        return_memory()
        self.progress.steps.append({"step": number + 1, "loss": total, "learning_rate": rate})
        return total

    def loss(self, rows: list[int], rng: np.random.Generator) -> torch.Tensor:
        """Loss of one micro-batch of passage rows, the same on every rank; gradients reach this rank's share."""
        s, world = self.settings, self.world
        shares = world.share(rows)
        picked = {row: self._questions(row, rng) for row in rows}
        asked = [[q for row in share for q in picked[row]] for share in shares]
        mine, ours = shares[world.rank], asked[world.rank]
        passages = self.encoder.embed_sorted([self.data.passages[row] for row in mine], s.chunk)
        questions = self.encoder.embed_sorted([self.data.questions[q] for q in ours], 4 * s.chunk)
        passages = world.gather(passages, [len(share) for share in shares])
        questions = world.gather(questions, [len(share) for share in asked])
        place = {row: at for at, row in enumerate(row for share in shares for row in share)}
        passages = passages[[place[row] for row in rows]]  # the batch's own order, whatever the number of ranks
        at = {row: number for number, row in enumerate(rows)}
        flat = [q for share in asked for q in share]
        target = torch.tensor([at[self.data.first[q]] for q in flat], device=passages.device)
        allowed = self._allowed(flat, rows, target, passages.detach())
        return info_nce(questions, passages, target, allowed, s.temperature, s.symmetric)

    def _questions(self, row: int, rng: np.random.Generator) -> list[int]:
        """The questions that this visit to a passage asks; none for a passage that is there as a negative only."""
        mine = self.asked.get(row, [])
        most = self.settings.questions_per_passage
        return mine if len(mine) <= most else sorted(rng.choice(mine, most, replace=False).tolist())

    def _allowed(self, asked: list[int], rows: list[int], target: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Which passages count as wrong for which question: not its golds, and no near copies of its gold."""
        others = [[row not in self.data.golds[q] for row in rows] for q in asked]
        return torch.tensor(others, device=vectors.device) & (vectors[target] @ vectors.T < self.settings.duplicate)

    def evaluate(self, on_eval: Callable[[int, Row], None] | None, number: int) -> None:
        """Measure on the leading rank, keep the adapter if it is the best yet, and report."""
        if not self.world.leads:
            return
        scores = self.val.measure(self.encoder)
        name = f"mrr_{self.val.protocol}"
        best = max((row[name] for row in self.progress.evaluations), default=-1.0)
        self.progress.evaluations.append({"step": self.at, **scores})
        if scores[name] > best:
            self.progress.best, self.progress.best_step = adapter_state(self.encoder.model), self.at
        if on_eval:
            on_eval(number, scores)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "at": self.at,
            "adapter": adapter_state(self.encoder.model),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress),
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from `state`; None changes nothing."""
        if state is None:
            return
        restore_adapter(self.encoder.model, state["adapter"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.at = state["at"]
        self.progress = Progress(**state["progress"])
