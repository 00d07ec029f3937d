"""What the packing of any task is told, is given and gives."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.common.step import Settings


class PackSettings(Settings):
    """Section ``pack``; tasks add their own.

    ``system``: the endpoint that the bundle is for, as the release names it. ``mlflow_run``: the run that tracked the
    training, for the lineage.
    """

    system: str = ""
    mlflow_run: str = ""


@dataclass(frozen=True)
class Given:
    """Inputs of a task's pack: quantize's directory and its variants.json, the tables, and features where it has any.

    ``frame``: features as of each example's day; ``snapshot``: features now; both parquet, None without a feature step.
    """

    variants: Path
    description: dict[str, Any]
    corpus: Path
    examples: Path
    frame: Path | None = None
    snapshot: Path | None = None


@dataclass(frozen=True)
class Packed:
    """What goes into bundle.json: JSON schemas of one instance and one result, figures named with their protocol."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    metrics: dict[str, float]
