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

    made = run(passages.path, QASettings.model_validate(settings), questions.path)
    summary.log_metric("questions", made.count)
    for name, count in (made.by_category | made.by_origin).items():
        summary.log_metric(name, count)
    summary.log_metric("dropped", sum(made.dropped.values()))
