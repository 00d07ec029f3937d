"""Step "Collect summaries"."""

from kfp.dsl import Dataset, Input, Output

from components.common.step import step


@step
def summaries(
    source: str,
    settings: dict,  # type: ignore[type-arg]
    corpus: Output[Dataset],
    examples: Output[Dataset],
    sentences: Input[Dataset] = None,
    references: Input[Dataset] = None,
) -> None:
    """Collect documents and the bullets that people wrote about them: our texts, lectures, meetings.

    Args:
        source: Directory in the format of QMSum (train/, val/, test/ with JSON files); empty for none.
        settings: Section "summaries" (see SummariesSettings).
        corpus: Parquet, one row a sentence: document_id, position, text, start, end (seconds, NaN without recording).
        examples: Parquet, one row a document: document_id, bullets, split, source, condition.
        sentences: Sentences of our own lectures' transcripts, in the format of corpus (step "Clean and segment").
        references: Their bullets, in the format of examples.
    """
    from components.summaries.run import collect

    inputs = (sentences.path if sentences else None), (references.path if references else None)
    counts = collect(*inputs, source, settings, corpus.path, examples.path)
    examples.metadata.update(counts)
