"""The two tables of task highlights: sentences of documents, and the bullets that people wrote about them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from components.common.tables import read_table
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file

SENTENCES = ("document_id", "position", "text", "start", "end")
SUMMARIES = ("document_id", "bullets", "split", "source", "condition")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Document:
    """A text with its reference: ``sentences`` in order, ``times`` (start, end) in seconds (NaN: no recording)."""

    id: str
    sentences: list[str]
    bullets: list[str]
    split: str
    source: str
    condition: str = ""
    times: Sequence[tuple[float, float]] = field(default=())

    @property
    def reference(self) -> str:
        """The bullets as one text, a bullet a line."""
        return "\n".join(self.bullets)


def write(documents: Sequence[Document], corpus: Path | str, examples: Path | str) -> None:
    """Write sentences.parquet and summaries.parquet (columns `SENTENCES` and `SUMMARIES`)."""
    none = float("nan")
    rows = [
        (d.id, at, text, *(d.times[at] if d.times else (none, none)))
        for d in documents
        for at, text in enumerate(d.sentences)
    ]
    sentences = pd.DataFrame(rows, columns=list(SENTENCES)).astype({"position": "int32", "start": float, "end": float})
    summaries = pd.DataFrame(
        [(d.id, d.bullets, d.split, d.source, d.condition) for d in documents], columns=list(SUMMARIES)
    )
    for table, path in ((sentences, corpus), (summaries, examples)):
        with atomic_file(path) as scratch:
            table.to_parquet(scratch, index=False, coerce_timestamps="us")


def read(corpus: Path | str, examples: Path | str) -> list[Document]:
    """Documents of the two files, in the order of the second. Errors: `SluiceError` naming a missing file or column."""
    made = "the step summaries", "summaries"
    sentences, summaries = read_table(corpus, SENTENCES, *made), read_table(examples, SUMMARIES, *made)
    parts = {str(key): part.sort_values("position") for key, part in sentences.groupby("document_id", sort=False)}
    return list(_documents(parts, summaries))


def _documents(parts: dict[str, pd.DataFrame], summaries: pd.DataFrame) -> Iterator[Document]:
    for row in summaries[list(SUMMARIES)].to_dict("records"):
        part = parts.get(str(row["document_id"]))
        if part is None:
            raise SluiceError(
                f"document '{row['document_id']}' has bullets but no sentences; run the step summaries again"
            )
        yield Document(
            str(row["document_id"]),
            part["text"].tolist(),
            list(row["bullets"]),
            str(row["split"]),
            str(row["source"]),
            str(row["condition"]),
            list(zip(part["start"].tolist(), part["end"].tolist(), strict=True)),
        )


def of_split(documents: Sequence[Document], split: str) -> list[Document]:
    """The documents of one split that have bullets. Errors: `SluiceError` if there is none."""
    found = [d for d in documents if d.split == split and d.bullets and d.sentences]
    if not found:
        raise SluiceError(f"summaries.parquet: no document of split '{split}' with bullets; add some to the source")
    return found
