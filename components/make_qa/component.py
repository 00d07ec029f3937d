"""The typed shell of make_qa."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.step import step


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
    from components.make_qa.run import make_qa as run
    from components.make_qa.settings import QASettings
    from components.report.figures import log_metrics

    made = run(passages.path, QASettings.model_validate(settings), questions.path)
    sums = {"questions": made.count, "dropped": sum(made.dropped.values())}
    log_metrics(summary, sums | made.by_category | made.by_origin)
