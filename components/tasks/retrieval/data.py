"""The data gate of task retrieval: passages (of a source tree or of lectures) and questions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import Field

from components.tasks.retrieval import suites
from components.validate.gate import Checked, Count, ValidateSettings, judge, quarantine
from components.validate.report import categories, histograms
from components.validate.suites import Examiner

if TYPE_CHECKING:
    import pandas as pd

    from components.common.page import Page

CORPUS = ("passage_id", "path", "kind", "text", "n_tokens", "split")
EXAMPLES = ("question_id", "question", "answer", "gold", "category", "split", "origin")
MAKERS = ("ingest", "make_qa")
_SEGMENT = {"start_s", "end_s", "speech_rate", "silence_share", "confidence", "lecture_duration_s"}


class Settings(ValidateSettings):
    """Section ``validate`` of passages and questions.

    Row by row: ``max_tokens`` of a passage (the encoder's window), ``question_words`` (least and most), ``*_letters``
    (the least share of ASCII letters among all letters: a simple test of language), ``speech_rate`` of a segment in
    words a minute. Over all: the balance of the rule-made questions (``max_category_share``, ``min_categories``), and
    the least numbers of rows.
    """

    max_tokens: int = Field(256, ge=1, le=512)
    question_words: tuple[int, int] = (4, 60)
    passage_letters: float = Field(0.6, ge=0, le=1)
    question_letters: float = Field(0.95, ge=0, le=1)
    speech_rate: tuple[float, float] = (20, 400)
    max_category_share: float = Field(0.7, gt=0, le=1)
    min_categories: int = Field(3, ge=1)
    min_passages: int = Field(10, ge=1)
    min_questions: int = Field(10, ge=1)


def check(passages: "pd.DataFrame", questions: "pd.DataFrame", settings: Settings) -> Checked:
    """Judge both tables: questions against the clean passages, and their gold keeps only passages that stayed.

    Passages that carry the times and figures of speech are judged as segments of lectures too.
    """
    import pandas as pd

    examiner = Examiner()
    outcomes = {
        "passages": examiner.examine("passages", suites.passage_columns(passages), suites.passage_rules(settings))
    }
    if set(passages.columns) >= _SEGMENT:
        outcomes["segments"] = examiner.examine(
            "segments", suites.segment_columns(passages), suites.segment_rules(settings)
        )
    found = [outcome for table in outcomes.values() for outcome in table]
    bad = [quarantine("passages", passages["passage_id"].tolist(), passages["text"].tolist(), found)]
    clean = passages.drop(index=passages.index[bad[0]["row_number"]]).reset_index(drop=True)
    columns = suites.question_columns(questions, clean)
    outcomes["questions"] = examiner.examine("questions", columns, suites.question_rules(settings))
    texts = questions["question"].tolist()
    bad.append(quarantine("questions", questions["question_id"].tolist(), texts, outcomes["questions"]))
    asked = questions.drop(index=questions.index[bad[1]["row_number"]]).reset_index(drop=True)
    known = set(clean["passage_id"])
    asked = asked.assign(gold=asked["gold"].map(lambda gold: [g for g in gold if g in known]))
    outcomes["balance"] = examiner.examine("balance", suites.balance(asked), suites.balance_rules(settings))
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
        histograms([("wordpieces", "passages", passages["n_tokens"]), ("words", "questions", words)]),
        "Lengths: wordpieces a passage, words a question",
    )
    page.figure(categories(questions), "Questions by category and split (rule, generated and feedback; personas apart)")
    page.figure(
        _splits({"passages": passages, "questions": questions}),
        "Rows in each split: a file and its questions lie in one split only",
    )


def _splits(tables: Mapping[str, "pd.DataFrame"]) -> Any:
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
