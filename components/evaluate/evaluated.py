"""What the evaluation of any task comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from components.common.page import Page


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
