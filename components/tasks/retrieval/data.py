"""The data gate of task retrieval: passages (of a source tree or of lectures) and questions."""

from typing import TYPE_CHECKING

from components.tasks.retrieval.suites import balance_rules, passage_rules, question_rules, segment_rules
from components.validate import pictures
from components.validate.checks import balance, passage_columns, question_columns, segment_columns
from components.validate.gate import Checked, Count, judge, quarantine
from components.validate.settings import ValidateSettings
from components.validate.suites import Examiner

if TYPE_CHECKING:
    import pandas as pd

    from components.common.page import Page

CORPUS = ("passage_id", "path", "kind", "text", "n_tokens", "split")
EXAMPLES = ("question_id", "question", "answer", "gold", "category", "split", "origin")
MAKERS = ("ingest", "make_qa")
Settings = ValidateSettings
_SEGMENT = {"start_s", "end_s", "speech_rate", "silence_share", "confidence", "lecture_duration_s"}


def check(passages: "pd.DataFrame", questions: "pd.DataFrame", settings: ValidateSettings) -> Checked:
    """Judge both tables: questions against the clean passages, and their gold keeps only passages that stayed.

    Passages that carry the times and figures of speech are judged as segments of lectures too.
    """
    import pandas as pd

    examiner = Examiner()
    outcomes = {"passages": examiner.examine("passages", passage_columns(passages), passage_rules(settings))}
    if set(passages.columns) >= _SEGMENT:
        outcomes["segments"] = examiner.examine("segments", segment_columns(passages), segment_rules(settings))
    found = [outcome for table in outcomes.values() for outcome in table]
    bad = [quarantine("passages", passages["passage_id"].tolist(), passages["text"].tolist(), found)]
    clean = passages.drop(index=passages.index[bad[0]["row_number"]]).reset_index(drop=True)
    columns = question_columns(questions, clean)
    outcomes["questions"] = examiner.examine("questions", columns, question_rules(settings))
    texts = questions["question"].tolist()
    bad.append(quarantine("questions", questions["question_id"].tolist(), texts, outcomes["questions"]))
    asked = questions.drop(index=questions.index[bad[1]["row_number"]]).reset_index(drop=True)
    known = set(clean["passage_id"])
    asked = asked.assign(gold=asked["gold"].map(lambda gold: [g for g in gold if g in known]))
    outcomes["balance"] = examiner.examine("balance", balance(asked), balance_rules(settings))
    counts = {
        "passages": Count(len(passages), len(clean), settings.min_passages),
        "questions": Count(len(questions), len(asked), settings.min_questions),
    }
    verdict = judge(counts, {"categories": outcomes["balance"]}, settings)
    return Checked(clean, asked, pd.concat(bad, ignore_index=True), outcomes, verdict)


def picture(page: "Page", checked: Checked) -> None:
    """Lengths, categories and splits."""
    passages, questions = checked.corpus, checked.examples
    words = [len(str(q).split()) for q in questions["question"]]
    page.figure(
        pictures.histograms([("wordpieces", "passages", passages["n_tokens"]), ("words", "questions", words)]),
        "Lengths: wordpieces a passage, words a question",
    )
    page.figure(
        pictures.categories(questions), "Questions by category and split (rule, generated and feedback; personas apart)"
    )
    page.figure(
        pictures.splits({"passages": passages, "questions": questions}),
        "Rows in each split: a file and its questions lie in one split only",
    )
