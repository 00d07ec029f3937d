"""The training loop: one optimizer step after another, the same every time, and where it stands on disk."""

import contextlib
import ctypes
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.common.lora import adapter_state, add_adapter, restore_adapter
from components.train.learner import Learner, World
from components.train.settings import Hyperparameters, TrainSettings
from serving.contract.files import atomic_file, home

Row = dict[str, float]
HEAD = "head."
WARMUP = 0.1
"""Share of the steps in which the learning rate rises."""
WEIGHT_DECAY = 0.01
CLIP = 1.0
"""Largest norm of all gradients together."""


@dataclass
class Progress:
    """What a run has seen: a row a step and a row an evaluation, and the best adapter so far."""

    steps: list[Row] = field(default_factory=list)
    evaluations: list[Row] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_step: int = 0


def learning_rate(step: int, steps: int, hyper: Hyperparameters) -> float:
    """Linear warmup, then linear decay to zero; ``step`` counts from 0."""
    ramp = max(1, round(steps * WARMUP))
    return hyper.learning_rate * min((step + 1) / ramp, (steps - step) / max(1, steps - ramp + 1))


def return_memory() -> None:
    """Give freed heap pages back: batches of ever new shapes fragment glibc's heap, to twice the need in 100 steps."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


class Checkpoint:
    """One file of one run, replaced as a whole; the run is named by a digest of everything that decides its result."""

    def __init__(self, run: str, root: Path | None = None) -> None:
        root = root or Path(os.environ.get("SLUICE_CHECKPOINTS", home() / "checkpoints"))
        self.directory = root / run

    def load(self) -> dict[str, Any] | None:
        """What was saved last, or None for a new run."""
        path = self.directory / "state.pt"
        return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state."""
        with atomic_file(self.directory / "state.pt") as scratch:
            torch.save(state, scratch)

    def clear(self) -> None:
        """Remove the run's directory: its output is complete."""
        shutil.rmtree(self.directory, ignore_errors=True)


class Trainer:
    """One run of one learner.

    Everything random is drawn from (seed, step, rank), so a state is: step, adapter, optimizer, history.
    """

    def __init__(
        self, learner: Learner, hyper: Hyperparameters, settings: TrainSettings, world: World | None = None
    ) -> None:
        self.learner, self.hyper, self.settings, self.world = learner, hyper, settings, world or World()
        self.steps = self._schedule()
        self.parameters = trainable(learner, hyper, settings.seed)
        self.optimizer = torch.optim.AdamW(self.parameters, lr=hyper.learning_rate, weight_decay=WEIGHT_DECAY)
        self.progress = Progress()
        self.at = 0

    def _schedule(self) -> list[list[list[int]]]:
        """Every optimizer step of the run as its micro-batches of rows."""
        s = self.settings
        epochs = [self.learner.batches(epoch) for epoch in range(math.ceil(s.epochs))]
        batches = [batch for epoch in epochs for batch in epoch][: max(1, round(len(epochs[0]) * s.epochs))]
        each = self.hyper.accumulation
        steps = [batches[at : at + each] for at in range(0, len(batches), each)]
        return steps[: s.max_steps or None]

    def run(
        self,
        checkpoint: Checkpoint | None = None,
        on_eval: Callable[[int, Row], None] | None = None,
        tick: Callable[[int, int, str], None] | None = None,
        baseline: bool = True,
    ) -> Progress:
        """Train to the end, resuming from ``checkpoint``; the best adapter by the learner's metric is kept.

        ``on_eval(number, scores)`` may raise to stop the run (pruning); ``tick(step, steps, note)`` shows progress;
        ``baseline`` also measures the base model before the first step.
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
                tick(self.at, last, f"loss {loss:.3f}")
            if self.at in marks:
                self.evaluate(on_eval, marks[self.at])
            if checkpoint and self.world.leads and self.at % self.settings.checkpoint_every == 0:
                checkpoint.save(self.state())
        return self.progress

    def step(self, number: int) -> float:
        """One optimizer step over its micro-batches; returns the mean loss."""
        torch.manual_seed(hash((self.settings.seed, number, self.world.rank)) % 2**31)
        training_mode(self.learner)
        rate = learning_rate(number, len(self.steps), self.hyper)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        total = 0.0
        for part, rows in enumerate(self.steps[number]):
            rng = np.random.default_rng([self.settings.seed, number, part])
            loss = self.learner.loss(rows, rng, self.world)
            if loss.requires_grad:
                (loss / len(self.steps[number])).backward()
            total += loss.item() / len(self.steps[number])
        self.world.add_gradients(self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimizer.step()
        return_memory()
        self.progress.steps.append({"step": number + 1, "loss": total, "learning_rate": rate})
        return total

    def evaluate(self, on_eval: Callable[[int, Row], None] | None, number: int) -> None:
        """Measure on the leading rank, keep the adapter if it is the best yet, and report."""
        if not self.world.leads:
            return
        scores, name = self.learner.measure(), self.learner.metric
        best = max((row[name] for row in self.progress.evaluations), default=-math.inf)
        self.progress.evaluations.append({"step": self.at, **scores})
        if scores[name] > best:
            self.progress.best, self.progress.best_step = trained_state(self.learner), self.at
        if on_eval:
            on_eval(number, scores)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs."""
        return {
            "at": self.at,
            "adapter": trained_state(self.learner),
            "optimizer": self.optimizer.state_dict(),
            "progress": vars(self.progress),
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from `state`; None changes nothing."""
        if state is None:
            return
        restore(self.learner, state["adapter"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.at = state["at"]
        self.progress = Progress(**state["progress"])


def trainable(learner: Learner, hyper: Hyperparameters, seed: int) -> list[torch.nn.Parameter]:
    """The parameters to train, in a stable order: a fresh adapter's and the head's, or all there are."""
    found = add_adapter(learner, hyper, seed) if learner.adapter else list(learner.model.parameters())
    return found + (list(learner.head.parameters()) if learner.head is not None else [])


def training_mode(learner: Learner) -> None:
    """Only what is trained drops out: the base stays deterministic, which is also twice as fast on a CPU."""
    learner.model.train(not learner.adapter)
    for name, module in learner.model.named_modules():
        if "lora_dropout" in name:
            module.train()
    if learner.head is not None:
        learner.head.train()


def trained_state(learner: Learner) -> dict[str, torch.Tensor]:
    """A copy of all that is trained, on the CPU: the adapter by peft's names, or the model; the head's as "head."."""
    head = _copied(learner.head) if learner.head is not None else {}
    whole = adapter_state(learner.model) if learner.adapter else _copied(learner.model)
    return {**whole, **{HEAD + name: tensor for name, tensor in head.items()}}


def _copied(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


def restore(learner: Learner, state: dict[str, torch.Tensor]) -> None:
    """Put back what `trained_state` copied."""
    rest = {name: tensor for name, tensor in state.items() if not name.startswith(HEAD)}
    if learner.adapter:
        restore_adapter(learner.model, rest)
    else:
        learner.model.load_state_dict(rest)
    if learner.head is not None:
        own = {name.removeprefix(HEAD): tensor for name, tensor in state.items() if name.startswith(HEAD)}
        learner.head.load_state_dict(own)
