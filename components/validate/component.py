"""The typed shell of validate."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from components.step import step


@step
def validate(
    passages: Input[Dataset],
    questions: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    clean_passages: Output[Dataset],
    clean_questions: Output[Dataset],
    quarantine: Output[Dataset],
    verdict: Output[Artifact],
    report: Output[HTML],
) -> None:
    """Hold back damaged rows with the reason, and stop the run when too many are (the data gate).

    Args:
        passages: What ingest wrote.
        questions: What make_qa wrote.
        settings: Section `validate` of the system's YAML (see ValidateSettings).
        clean_passages: Parquet, the passages that every expectation accepts.
        clean_questions: Parquet, the questions that every expectation accepts.
        quarantine: Parquet, the rows held back - table, row id, reasons, excerpt.
        verdict: JSON, the data gate's verdict with its figures.
        report: HTML page with every expectation, pictures of the data and examples of quarantined rows.
    """
    from components.validate.run import Outputs
    from components.validate.run import validate as run
    from components.validate.settings import ValidateSettings

    out = Outputs(clean_passages.path, clean_questions.path, quarantine.path, verdict.path, report.path)
    run(passages.path, questions.path, ValidateSettings.model_validate(settings), out)
