"""Pictures of tables that every kind of data can use."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def histograms(panels: Sequence[tuple[str, str, Any]]) -> Any:
    """A figure with one histogram a panel: (what is measured, what is counted, values)."""
    from components.common.page import new_figure

    figure = new_figure()
    for axes, (unit, counted, values) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        axes.hist(values, bins=28)
        axes.set(title=counted.capitalize(), xlabel=unit, ylabel=counted)
    return figure


def categories(rows: "pd.DataFrame", column: str = "category", counted: str = "questions") -> Any:
    """A figure with the rows of each value of ``column``, stacked by split."""
    from components.common.page import new_figure

    figure = new_figure()
    axes = figure.subplots()
    counts = rows.groupby([column, "split"]).size().unstack(fill_value=0)
    base = [0] * len(counts)
    for split in [s for s in ("train", "val", "test", "persona", "calibration") if s in counts]:
        axes.bar(counts.index, counts[split], bottom=base, label=split)
        base = [b + int(c) for b, c in zip(base, counts[split], strict=True)]
    axes.set(ylabel=counted)
    if len(counts):
        axes.legend()
    return figure


def splits(tables: Mapping[str, "pd.DataFrame"]) -> Any:
    """A figure with the rows of two tables in each split, side by side."""
    from components.common.page import new_figure

    figure = new_figure(height=2.8)
    axes = figure.subplots()
    names = ["train", "val", "test"]
    for offset, (label, table) in zip((-0.2, 0.2), tables.items(), strict=True):
        axes.bar([i + offset for i in range(3)], [int((table["split"] == n).sum()) for n in names], 0.4, label=label)
    axes.set_xticks(range(3), names)
    axes.set(ylabel="rows")
    axes.legend()
    return figure
