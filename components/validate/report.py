"""The data gate's page: verdict, every expectation with its count, pictures, examples of what was held back."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.validate.gate import Checked

if TYPE_CHECKING:
    import pandas as pd

    from components.common.page import Page


def write_report(
    checked: Checked, picture: Callable[["Page", Checked], None], examples: int, target: str | Path
) -> None:
    """Write the page (self-contained HTML) to ``target``; ``picture`` adds what this kind of data looks like."""
    from components.common.page import Page

    page = Page("Data gate", "What the suites expect of the data, and which rows they held back.")
    figures, bad = checked.verdict.figures, checked.quarantined
    tables = [name for name in figures if f"{name}_quarantined" in figures]
    page.tiles([(t.capitalize(), figures[t], f"{figures[f'{t}_quarantined']} quarantined") for t in tables])
    page.verdicts([checked.verdict])
    page.heading("Expectations")
    page.table(_expectations(checked), "Each expectation, the rows it looked at, and the rows that failed it")
    page.heading("The data")
    picture(page, checked)
    page.heading("Quarantine")
    page.table(_examples(bad, examples), f"Up to {examples} of {len(bad)} quarantined rows")
    page.write(target)


def _expectations(checked: Checked) -> list[dict[str, Any]]:
    return [
        {"table": table, "expectation": o.rule.name, "wants": o.rule.wants, "rows": o.rows, "failed": len(o.failed),
         "holds": o.passed}
        for table, outcomes in checked.outcomes.items()
        for o in outcomes
    ]  # fmt: skip


def _examples(bad: "pd.DataFrame", limit: int) -> list[dict[str, Any]]:
    # Some of every reason rather than the first of the first table.
    key = bad["reasons"].map(lambda reasons: reasons[0] if len(reasons) else "")
    order = bad.assign(turn=bad.groupby([bad["table"], key]).cumcount()).sort_values("turn", kind="stable")
    return [
        {"table": r["table"], "row": r["row_id"], "reasons": "; ".join(r["reasons"]), "excerpt": r["excerpt"][:160]}
        for r in order.head(limit).to_dict("records")
    ]


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
