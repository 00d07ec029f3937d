"""What the training loop and the study ask of a task, and what a learner may rely on: ranks and precision."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from components.common.spec import ModelSpec


@dataclass(frozen=True)
class World:
    """A process's place among ``size`` ranks; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this rank evaluates and writes."""
        return self.rank == 0

    def share(self, rows: Sequence[int]) -> list[list[int]]:
        """Split the rows of a batch among the ranks; every rank gets the same answer."""
        return [list(rows[rank :: self.size]) for rank in range(self.size)]

    def gather(self, mine: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
        """All ranks' rows [sum(counts), d], rank by rank; gradients flow through this rank's own rows only.

        Every rank then computes the loss of the whole batch, and the sum over ranks of the gradients (`add_gradients`)
        is exactly the gradient that one process would get.
        """
        if self.size == 1:
            return mine
        parts = []
        for rank, count in enumerate(counts):
            rows = mine.detach().clone() if rank == self.rank else mine.new_empty((count, mine.shape[1]))
            torch.distributed.broadcast(rows, src=rank)
            parts.append(mine if rank == self.rank else rows)
        return torch.cat(parts)

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace each parameter's gradient by the sum over ranks."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
        torch.distributed.all_reduce(flat)
        at = 0
        for parameter in parameters:
            parameter.grad = flat[at : at + parameter.numel()].view_as(parameter).clone()
            at += parameter.numel()


@contextmanager
def join_world() -> Iterator[World]:
    """The world torchrun started this process in (gloo on CPUs, NCCL on GPUs), or a world of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield World(torch.distributed.get_rank(), size)
    finally:
        torch.distributed.destroy_process_group()


def use_bf16(precision: str) -> bool:
    """Whether to train under bfloat16 autocast: as told, or ("auto") where the hardware multiplies it natively."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))


class Learner(Protocol):
    """A base model with its training and validation rows; all that the shared loop knows about a task."""

    model: Any
    """The torch module that gets the adapter; the loop replaces it by its wrapped self."""

    @property
    def about(self) -> str:
        """One sentence for the training page: how this task learns."""

    @property
    def spec(self) -> ModelSpec:
        """The base model's description."""

    @property
    def adapter(self) -> bool:
        """Whether LoRA learns beside frozen weights. Else every weight does, and `save` writes the whole model."""

    @property
    def head(self) -> torch.nn.Module | None:
        """Trained whole beside the adapter, or None; seeded by the task, kept at its best by the loop."""

    @property
    def autocast(self) -> bool:
        """Whether the loss is computed in bfloat16."""

    @property
    def metric(self) -> str:
        """Which figure of `measure` is maximised; its name says its protocol."""

    def batches(self, epoch: int) -> list[list[int]]:
        """One epoch as micro-batches of row numbers, the same at every call (a resumed run asks again)."""

    def loss(self, rows: list[int], rng: np.random.Generator, world: World) -> torch.Tensor:
        """Scalar loss of one micro-batch. Over ranks, gradients are summed: each rank adds its share of the rows."""

    def measure(self) -> dict[str, float]:
        """Figures on the validation rows, in evaluation mode, without gradients."""

    def sizes(self) -> Mapping[str, float]:
        """What the run's record says about its data, e.g. {"training_questions": 812}."""

    def save(self, directory: Path) -> None:
        """Write what is not the adapter's (a head) into the adapter's directory; without one, a model directory."""
