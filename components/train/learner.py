"""What the training loop and the study ask of a task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from components.common.spec import ModelSpec
from components.train.world import World


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
