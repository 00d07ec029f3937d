"""What may be set about every evaluation, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
from pydantic import Field

from components.common.page import Page
from components.common.step import Settings


class EvaluateSettings(Settings):
    """Section ``evaluate``: resamples of an interval, examples shown, threads of the model; tasks add their own."""

    resamples: int = Field(2000, ge=100, le=100_000)
    examples: int = Field(12, ge=0, le=200)
    threads: int = Field(2, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class Evaluated:
    """A task's findings about one bundle.

    ``predictions``: what the task's gate compares, one row an example and system. ``figures`` are named with their
    protocol. ``counts``: sizes of what was measured. ``showcase``: (title, markup) that the release report repeats.
    """

    predictions: pd.DataFrame
    figures: dict[str, float]
    page: Page
    counts: dict[str, int]
    showcase: list[tuple[str, str]] = field(default_factory=list)
