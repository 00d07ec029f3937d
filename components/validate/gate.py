"""From what the suites found to the verdict and the quarantine: pure functions."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from components.validate.settings import ValidateSettings
from components.validate.suites import Outcome
from serving.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd


def quarantine(table: str, rows: "pd.DataFrame", text: str, outcomes: Sequence[Outcome]) -> "pd.DataFrame":
    """Rows that failed: table, row_number, row_id, reasons (list, in the suite's order), excerpt of column ``text``."""
    import pandas as pd

    reasons: dict[int, list[str]] = defaultdict(list)
    for outcome in outcomes:
        for number in outcome.failed:
            reasons[number].append(f"{outcome.rule.name}: {outcome.rule.reason}")
    ids, texts = rows[f"{table.removesuffix('s')}_id"].tolist(), rows[text].tolist()
    found = [(table, n, str(ids[n]), reasons[n], str(texts[n])[:300]) for n in sorted(reasons)]
    return pd.DataFrame(found, columns=["table", "row_number", "row_id", "reasons", "excerpt"])


def judge(counts: dict[str, tuple[int, int]], balance: Sequence[Outcome], settings: ValidateSettings) -> Verdict:
    """The gate's verdict. ``counts``: by table (passages, questions), rows before and rows that stayed."""
    faults = []
    figures: dict[str, float | int | str | bool] = {}
    least = {"passages": settings.min_passages, "questions": settings.min_questions}
    for table, (before, after) in counts.items():
        share = (before - after) / before if before else 0.0
        figures |= {table: after, f"{table}_quarantined": before - after, f"{table}_quarantined_share": round(share, 5)}
        if share > settings.max_quarantined:
            faults.append(f"{share:.1%} of {table} quarantined, at most {settings.max_quarantined:.1%} may be")
        if after < least[table]:
            faults.append(f"{after} {table} left, at least {least[table]} are needed")
    for outcome in balance:
        figures[f"{outcome.rule.name}_of_categories"] = outcome.passed
        if not outcome.passed:
            faults.append(f"questions have a {outcome.rule.reason}" if outcome.failed else outcome.rule.reason)
    reason = "; ".join(faults) or "every suite holds after quarantine, and little was quarantined"
    return Verdict("data", not faults, reason, figures)
