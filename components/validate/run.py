"""validate as a function: tables in, clean tables, quarantine, verdict and report out."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from components.validate.checks import balance, passage_columns, question_columns
from components.validate.gate import judge, quarantine
from components.validate.settings import ValidateSettings
from components.validate.suites import Examiner, Outcome, balance_rules, passage_rules, question_rules
from serving.errors import SluiceError
from serving.files import atomic_file
from serving.verdict import Verdict, write_verdicts

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
_PASSAGES = ("passage_id", "path", "kind", "text", "n_tokens", "split")
_QUESTIONS = ("question_id", "question", "answer", "gold", "category", "split", "origin")


class Outputs(NamedTuple):
    """Where validate writes: two clean tables, the quarantine (parquet each), the verdict (JSON), the report (HTML)."""

    passages: str | Path
    questions: str | Path
    quarantine: str | Path
    verdict: str | Path
    report: str | Path


class Checked(NamedTuple):
    """Everything that the report shows."""

    passages: "pd.DataFrame"
    questions: "pd.DataFrame"
    quarantined: "pd.DataFrame"
    outcomes: dict[str, list[Outcome]]
    verdict: Verdict


def validate(passages: str | Path, questions: str | Path, settings: ValidateSettings, out: Outputs) -> Verdict:
    """Split both tables (parquet) into clean rows and quarantine, write all of ``out``, then let the gate decide.

    Under the floor the outputs are still written, for whoever looks into it, and SluiceError says what is wrong in one
    sentence. SluiceError also for a missing file or column.
    """
    from components.validate.report import write_report

    checked = check(_read(Path(passages), _PASSAGES, "ingest"), _read(Path(questions), _QUESTIONS, "make_qa"), settings)
    for frame, target in zip(checked[:3], out[:3], strict=True):
        with atomic_file(target) as scratch:
            frame.to_parquet(scratch, index=False, coerce_timestamps="us")
    write_verdicts([checked.verdict], out.verdict)
    write_report(checked, settings, out.report)
    log.info("%s: %s", "passed" if checked.verdict.passed else "stopped", checked.verdict.reason)
    if not checked.verdict.passed:
        raise SluiceError(f"the data gate stopped the run: {checked.verdict.reason}; see the report {out.report}")
    return checked.verdict


def check(passages: "pd.DataFrame", questions: "pd.DataFrame", settings: ValidateSettings) -> Checked:
    """Judge both tables: questions against the clean passages, and their gold keeps only passages that stayed."""
    import pandas as pd

    examiner = Examiner()
    outcomes = {"passages": examiner.examine("passages", passage_columns(passages), passage_rules(settings))}
    bad = [quarantine("passages", passages, "text", outcomes["passages"])]
    clean = passages.drop(index=passages.index[bad[0]["row_number"]]).reset_index(drop=True)
    columns = question_columns(questions, clean)
    outcomes["questions"] = examiner.examine("questions", columns, question_rules(settings))
    bad.append(quarantine("questions", questions, "question", outcomes["questions"]))
    asked = questions.drop(index=questions.index[bad[1]["row_number"]]).reset_index(drop=True)
    known = set(clean["passage_id"])
    asked = asked.assign(gold=asked["gold"].map(lambda gold: [g for g in gold if g in known]))
    outcomes["balance"] = examiner.examine("balance", balance(asked), balance_rules(settings))
    counts = {"passages": (len(passages), len(clean)), "questions": (len(questions), len(asked))}
    verdict = judge(counts, outcomes["balance"], settings)
    return Checked(clean, asked, pd.concat(bad, ignore_index=True), outcomes, verdict)


def _read(path: Path, needed: tuple[str, ...], maker: str) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        raise SluiceError(f"{path}: no such table; run {maker} first")
    frame = pd.read_parquet(path).reset_index(drop=True)
    missing = [c for c in needed if c not in frame.columns]
    if missing:
        raise SluiceError(f"{path}: no column {', '.join(map(repr, missing))}; expected what components/{maker} writes")
    return frame
