"""From what the suites found to the verdict and the quarantine: pure functions."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pydantic import Field

from components.common.step import Settings
from components.validate.suites import Outcome
from serving.contract.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd


class ValidateSettings(Settings):
    """What every kind of data is asked.

    ``task`` is the kind of model that the rows are for. ``max_quarantined``: share of a table's rows;
    ``examples`` of quarantined rows stand in the report.
    """

    task: str = ""
    max_quarantined: float = Field(0.05, ge=0, le=1)
    examples: int = Field(30, ge=0)


class Checked(NamedTuple):
    """Everything that the report shows: both tables as they stayed, what was held back, what each suite found."""

    corpus: "pd.DataFrame"
    examples: "pd.DataFrame"
    quarantined: "pd.DataFrame"
    outcomes: dict[str, list[Outcome]]
    verdict: Verdict


class Count(NamedTuple):
    """A table's rows before and after quarantine, and the least that must be left."""

    before: int
    after: int
    least: int


def quarantine(table: str, ids: Sequence[str], texts: Sequence[object], outcomes: Sequence[Outcome]) -> "pd.DataFrame":
    """Rows that failed: table, row_number, row_id, reasons (list, in the suite's order), excerpt of the row's text."""
    import pandas as pd

    reasons: dict[int, list[str]] = defaultdict(list)
    for outcome in outcomes:
        for number in outcome.failed:
            reasons[number].append(f"{outcome.rule.name}: {outcome.rule.reason}")
    found = [(table, n, str(ids[n]), reasons[n], str(texts[n])[:300]) for n in sorted(reasons)]
    return pd.DataFrame(found, columns=["table", "row_number", "row_id", "reasons", "excerpt"])


def judge(counts: Mapping[str, Count], whole: Mapping[str, Sequence[Outcome]], settings: ValidateSettings) -> Verdict:
    """The gate's verdict. ``whole``: by subject, what suites found that judge a table, not its rows."""
    faults = []
    figures: dict[str, float | int | str | bool] = {}
    for table, (before, after, least) in counts.items():
        share = (before - after) / before if before else 0.0
        figures |= {table: after, f"{table}_quarantined": before - after, f"{table}_quarantined_share": round(share, 5)}
        if share > settings.max_quarantined:
            faults.append(f"{share:.1%} of {table} quarantined, at most {settings.max_quarantined:.1%} may be")
        if after < least:
            faults.append(f"{after} {table} left, at least {least} are needed")
    for subject, outcomes in whole.items():
        for outcome in outcomes:
            figures[f"{outcome.rule.name}_of_{subject}"] = outcome.passed
            if not outcome.passed:
                faults.append(outcome.rule.reason)
    reason = "; ".join(faults) or "every suite holds after quarantine, and little was quarantined"
    return Verdict("data", not faults, reason, figures)
