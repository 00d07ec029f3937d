"""Where a run stands, on disk, so that a killed run goes on where it was."""

import os
import shutil
from pathlib import Path
from typing import Any

import torch

from serving.contract.files import atomic_file, home


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
