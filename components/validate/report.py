"""The data gate's page: verdict, every expectation with its count, pictures, examples of what was held back."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.validate.settings import ValidateSettings

if TYPE_CHECKING:
    import pandas as pd

    from components.validate.run import Checked


def write_report(checked: "Checked", settings: ValidateSettings, target: str | Path) -> None:
    """Write the page (self-contained HTML) to ``target``."""
    from components.report.page import Page

    page = Page("Data gate", "What the suites expect of passages and questions, and which rows they held back.")
    passages, questions, bad = checked.passages, checked.questions, checked.quarantined
    page.tiles(
        [
            ("Passages", len(passages), f"{(bad['table'] == 'passages').sum()} quarantined"),
            ("Questions", len(questions), f"{(bad['table'] == 'questions').sum()} quarantined"),
            ("Files", passages["path"].nunique(), "with at least one passage"),
        ]
    )
    page.verdicts([checked.verdict])
    page.heading("Expectations")
    page.table(_expectations(checked), "Each expectation, the rows it looked at, and the rows that failed it")
    page.heading("The data")
    page.figure(_lengths(passages, questions), "Lengths: wordpieces a passage, words a question")
    page.figure(
        _categories(questions), "Questions by category and split (rule, generated and feedback; personas apart)"
    )
    page.figure(_splits(passages, questions), "Rows in each split: a file and its questions lie in one split only")
    page.heading("Quarantine")
    page.table(_examples(bad, settings.examples), f"Up to {settings.examples} of {len(bad)} quarantined rows")
    page.write(target)


def _expectations(checked: "Checked") -> list[dict[str, Any]]:
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


def _lengths(passages: "pd.DataFrame", questions: "pd.DataFrame") -> Any:
    from components.report.page import new_figure

    figure = new_figure()
    left, right = figure.subplots(1, 2)
    left.hist(passages["n_tokens"], bins=32)
    left.set(title="Passages", xlabel="wordpieces", ylabel="passages")
    right.hist([len(str(q).split()) for q in questions["question"]], bins=24)
    right.set(title="Questions", xlabel="words", ylabel="questions")
    return figure


def _categories(questions: "pd.DataFrame") -> Any:
    from components.report.page import new_figure

    figure = new_figure()
    axes = figure.subplots()
    counts = questions.groupby(["category", "split"]).size().unstack(fill_value=0)
    base = [0] * len(counts)
    for split in [s for s in ("train", "val", "test", "persona") if s in counts]:
        axes.bar(counts.index, counts[split], bottom=base, label=split)
        base = [b + int(c) for b, c in zip(base, counts[split], strict=True)]
    axes.set(ylabel="questions")
    axes.legend()
    return figure


def _splits(passages: "pd.DataFrame", questions: "pd.DataFrame") -> Any:
    from components.report.page import new_figure

    figure = new_figure(height=2.8)
    axes = figure.subplots()
    names = ["train", "val", "test"]
    for offset, (label, table) in zip((-0.2, 0.2), (("passages", passages), ("questions", questions)), strict=True):
        axes.bar([i + offset for i in range(3)], [int((table["split"] == n).sum()) for n in names], 0.4, label=label)
    axes.set_xticks(range(3), names)
    axes.set(ylabel="rows")
    axes.legend()
    return figure
