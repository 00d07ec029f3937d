"""The index: passages with their vectors and BM25 weights; exact search by one matrix product."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from serving.contract.errors import SluiceError
from serving.core.onnx_encoder import OnnxEncoder
from serving.retrieval.bm25 import Bm25
from serving.retrieval.passages import CODE, COLUMNS, TIMES, require_columns

if TYPE_CHECKING:
    import pandas as pd

_CHUNK = 64


class Index:
    """n passages: ``columns`` as lists, ``vectors`` float32 [n, dim] L2-normalised, ``bm25``."""

    def __init__(self, columns: dict[str, list[Any]], vectors: np.ndarray, bm25: Bm25) -> None:
        self.columns, self.vectors, self.bm25 = columns, vectors, bm25
        self.ids: list[str] = columns["passage_id"]
        self._transposed = np.ascontiguousarray(vectors.T)
        if not len(self.ids) == len(vectors) == bm25.size:
            raise SluiceError(
                f"the index has {len(self.ids)} passages, {len(vectors)} vectors and {bm25.size} texts; pack it again"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def dense(self, queries: np.ndarray) -> np.ndarray:
        """Cosine of every passage for every query vector: float32 [q, n]."""
        return np.asarray(queries @ self._transposed)

    @classmethod
    def build(cls, passages: "pd.DataFrame", vectors: np.ndarray) -> "Index":
        """Index passages (columns as `COLUMNS`, and `CODE` or `TIMES` where they have them) whose vectors are known."""
        require_columns(passages, COLUMNS, "passages.parquet", "ingest")
        own = [name for names in (CODE, TIMES) if set(names) <= set(passages.columns) for name in names]
        columns = {name: passages[name].tolist() for name in (*COLUMNS, *own)}
        return cls(columns, vectors, Bm25.build(columns["text"]))

    def save(self, directory: Path) -> None:
        """Write ``directory/{passages.parquet,vectors.npy,bm25/}``."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        directory.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(self.columns), directory / "passages.parquet", compression="zstd")
        np.save(directory / "vectors.npy", self.vectors)
        self.bm25.save(directory / "bm25")

    @classmethod
    def open(cls, directory: Path) -> "Index":
        """Read what `save` wrote. Errors: `SluiceError` if a part is missing or the parts do not fit."""
        import pyarrow.parquet as pq

        try:
            columns = pq.read_table(directory / "passages.parquet").to_pydict()
            vectors = np.load(directory / "vectors.npy")
        except (OSError, ValueError) as error:
            raise SluiceError(f"{directory}: the index cannot be read ({error}); pack the bundle again") from error
        return cls(columns, vectors, Bm25.open(directory / "bm25"))


def encode_all(
    encoder: OnnxEncoder,
    texts: Sequence[str],
    known: Callable[[str], np.ndarray | None] | None = None,
    workers: int | None = None,
    done: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Vectors of many texts: float32 [n, dim]. A text that repeats, or whose vector is ``known``, is not encoded again.

    ``workers`` threads (default: as many as there are cores for) share the encoder; each runs whole batches, which
    scales better on long lists than threads inside one run. ``done(so far, in all)`` is called after each batch.
    """
    found = {text: known(text) if known else None for text in texts}
    fresh = sorted((text for text, vector in found.items() if vector is None), key=lambda text: (len(text), text))
    chunks = [fresh[at : at + _CHUNK] for at in range(0, len(fresh), _CHUNK)][
        ::-1
    ]  # long first: no straggler at the end
    with ThreadPoolExecutor(workers or max(1, (os.cpu_count() or 1) // encoder.threads)) as pool:
        for number, (chunk, vectors) in enumerate(zip(chunks, pool.map(encoder.encode, chunks), strict=True), 1):
            found.update(zip(chunk, vectors, strict=True))
            if done:
                done(min(number * _CHUNK, len(fresh)), len(fresh))
    result = np.empty((len(texts), encoder.dim), np.float32)
    for row, text in enumerate(texts):
        result[row] = found[text]
    return result
