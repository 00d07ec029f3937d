"""The typed shell of validate."""

from kfp.dsl import HTML, Artifact, Dataset, Input, Output

from components.common.step import step


@step
def validate(
    corpus: Input[Dataset],
    examples: Input[Dataset],
    settings: dict,  # type: ignore[type-arg]
    clean_corpus: Output[Dataset],
    clean_examples: Output[Dataset],
    quarantine: Output[Dataset],
    verdict: Output[Artifact],
    report: Output[HTML],
) -> None:
    """Hold back damaged rows with the reason, and stop the run when too many are (the data gate).

    Args:
        corpus: Parquet: passages, audio of utterances, or sentences of documents.
        examples: Parquet: questions, reference texts, or summaries.
        settings: Section `validate` of the system's YAML; its `task` says which suites judge.
        clean_corpus: Parquet, the rows of the corpus that every expectation accepts.
        clean_examples: Parquet, the examples that every expectation accepts.
        quarantine: Parquet, the rows held back - table, row id, reasons, excerpt.
        verdict: JSON, the data gate's verdict with its figures.
        report: HTML page with every expectation, pictures of the data and examples of quarantined rows.
    """
    from components.validate.run import Outputs
    from components.validate.run import validate as run

    out = Outputs(clean_corpus.path, clean_examples.path, quarantine.path, verdict.path, report.path)
    run(corpus.path, examples.path, settings, out)
