"""The typed shell of make_qa."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.common.step import step


@step
def make_qa(
    passages: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    questions: Output[Dataset],
    summary: Output[Metrics],
) -> None:
    """Make questions with answers and provenance out of passages, split by file.

    Args:
        passages: What ingest wrote.
        settings: Section `make_qa` of the system's YAML (see QASettings).
        questions: Parquet, one row a question, with the passages that answer it.
        summary: Numbers of questions by category and origin, and of what was dropped.
    """
    from components.common.figures import log_metrics
    from components.make_qa.run import make_qa as run
    from components.make_qa.settings import QASettings

    made = run(passages.path, QASettings.model_validate(settings), questions.path)
    sums = {"questions": made.count, "dropped": sum(made.dropped.values())}
    log_metrics(summary, sums | made.by_category | made.by_origin)


@step
def lecture_questions(
    passages: Input[Dataset],
    sentences: Input[Dataset],
    recordings: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    questions: Output[Dataset],
) -> None:
    """Make questions about lectures: those known of a recording, and rule-made ones, split by lecture.

    Args:
        passages: Segments of the lectures, as segment wrote them.
        sentences: Sentences of the lectures with their times, as segment wrote them.
        recordings: What recordings wrote; known questions stand in its stage "recording".
        settings: Section `make_qa` of the system's YAML (see QASettings).
        questions: Parquet, one row a question, with the segments that answer it.
    """
    from components.make_qa.lectures import lecture_questions as run
    from components.make_qa.settings import QASettings

    run(passages.path, sentences.path, recordings.path, QASettings.model_validate(settings), questions.path)
