"""One process or several: the little that ranks must tell each other."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch


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
