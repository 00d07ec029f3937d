"""The typed shell of ingest."""

from typing import NamedTuple

from kfp.dsl import Dataset, Output

from components.common.step import step


@step
def ingest(
    source: str,
    source_digest: str,
    part: str,
    settings: dict,  # type: ignore[type-arg]
    passages: Output[Dataset],
) -> NamedTuple("Ingested", [("count", int), ("digest", str)]):  # type: ignore[valid-type]
    """Read a source tree into passages that fit the encoder's window.

    Args:
        source: Directory with Python and Markdown files; empty for the installed transformers package.
        source_digest: Digest of the source's content, so that a changed source is read again.
        part: "core" for a named subset of the default source, "all" for everything.
        settings: Section `ingest` of the system's YAML (see IngestSettings).
        passages: Parquet, one row a passage, with path, lines, commit and link.
    """
    from components.ingest.run import ingest as run
    from components.ingest.settings import IngestSettings

    done = run(source, part, IngestSettings.model_validate(settings), passages.path)
    passages.metadata.update(count=done.count, digest=done.digest, skipped_files=len(done.skipped))
    return done.count, done.digest
