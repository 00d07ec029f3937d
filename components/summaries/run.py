"""Summaries from all places, as one corpus."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from components.common.step import Settings
from components.summaries.sources import meetings, own_documents
from components.tasks.highlights import tables
from components.tasks.highlights.tables import SPLITS, Document
from serving.contract.errors import SluiceError


class SummariesSettings(Settings):
    """Section ``summaries``.

    ``own``: take the project's own texts too; ``documents``: most of one split of the source (0: all); ``sentences``:
    most of one of its documents, from its beginning (0: all).
    """

    own: bool = True
    documents: int = Field(0, ge=0)
    sentences: int = Field(0, ge=0)


def collect(
    sentences: Path | str | None,
    references: Path | str | None,
    source: str,
    settings: Mapping[str, Any],
    corpus: Path | str,
    examples: Path | str,
) -> dict[str, int]:
    """Write sentences.parquet and summaries.parquet (see `highlights.tables`); counts by source and split.

    In: our own transcripts with bullets (both files or none), ``source`` a directory in QMSum's format ("" for none).
    The project's own texts come with it; of recordings of one text, the first by name counts. Errors: `SluiceError` for
    a source that is none, an id that is there twice, or no document at all.
    """
    chosen = SummariesSettings.model_validate(settings)
    found = list(own_documents()) if chosen.own else []
    if sentences and references:
        found += _once(tables.read(sentences, references))
    if source:
        found += _fewest(meetings(source, chosen.sentences), chosen.documents)
    if not found:
        raise SluiceError("no documents with summaries; name a source, or leave the project's own texts in (own: true)")
    names = [document.id for document in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SluiceError(f"document '{twice[0]}' is there twice; rename one of the two")
    tables.write(found, corpus, examples)
    counts = {f"{d.source}_{d.split}": 0 for d in found}
    for document in found:
        counts[f"{document.source}_{document.split}"] += 1
    return counts


def _once(documents: list[Document]) -> list[Document]:
    """Documents without those whose bullets came before in their split: two voices that read one text are one."""
    first = {(d.split, tuple(d.bullets)): d for d in sorted(documents, key=lambda d: d.id, reverse=True)}
    return [d for d in documents if first[d.split, tuple(d.bullets)] is d]


def _fewest(documents: list[Document], most: int) -> list[Document]:
    """At most ``most`` documents of each split, the first ones by name; all where it is 0."""
    return [d for split in SPLITS for d in [d for d in documents if d.split == split][: most or None]]
