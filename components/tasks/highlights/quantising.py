"""ONNX variants of a highlighter's encoder: what each costs, and whether it still picks the same bullets."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field

from components.quantize.variants import REFERENCE, Measured, QuantizeSettings
from components.tasks.highlights import tables
from components.tasks.highlights.rouge import PROTOCOL, rouge
from components.tasks.highlights.tables import Document
from serving.core.onnx_encoder import OnnxEncoder
from serving.highlights.features import of_texts, with_centroid
from serving.highlights.head import NAME, Head
from serving.highlights.select import choose
from serving.highlights.text import words

SAMPLES = 32
QUALITY = f"rouge12_{PROTOCOL}_seen"
PANELS = [
    ("bytes", "Size, MB", 1e-6),
    ("p50_ms_batch1", "One document, p50 ms", 1.0),
    ("sentences_per_s", "Sentences per second", 1.0),
]


class Settings(QuantizeSettings):
    """Section ``quantize`` of a highlighter.

    Quality is the mean of ROUGE-1 and ROUGE-2 on at most ``documents`` of the splits train and val, of each the first
    ``sentences`` (a meeting has a thousand, and only the comparison with fp32 counts): a variant has to pick what fp32
    picks, wherever; a dozen validation documents alone would say too little. ``min_retained`` leaves room for the few
    bullets that change by chance.
    """

    min_retained: float = Field(0.95, ge=0, le=1)
    documents: int = Field(60, ge=1)
    sentences: int = Field(100, ge=1)


def measure(model: Path, corpus: Path, examples: Path, settings: Settings, out: Path) -> Measured:
    """Write encoder/fp32.onnx, encoder/int8.onnx and head.json below ``out`` and measure the variants.

    A base model has no head: it gets the untrained one. Errors: `SluiceError` for a missing file or column, or no
    document with bullets.
    """
    from components.common.spec import read_spec
    from components.quantize.export import compare

    spec = read_spec(model)
    documents = _documents(corpus, examples, settings)
    build(model, out)
    if (model / NAME).is_file():
        shutil.copyfile(model / NAME, out / NAME)
    else:
        Head.untrained(spec.dim).write(out)
    head = Head.read(out)
    files = {name: f"encoder/{name}.onnx" for name in ("fp32", "int8")}
    encoders = {name: OnnxEncoder(out, file, settings.threads, spec.max_tokens) for name, file in files.items()}
    texts = [text for document in documents for text in document.sentences][:SAMPLES]
    differences = compare(model, {name: encoder.encode(texts) for name, encoder in encoders.items()}, texts)
    times = latency(encoders, documents, settings.repeats)
    chosen = {name: [pick(encoder, head, document) for document in documents] for name, encoder in encoders.items()}
    figures = {
        name: {
            "bytes": (out / file).stat().st_size,
            **times[name],
            **differences[name],
            **quality(documents, chosen[name], chosen[REFERENCE]),
        }
        for name, file in files.items()
    }
    told = {"encoder": {k: getattr(spec, k) for k in ("pooling", "normalize", "dim", "max_tokens")}}
    return Measured(told, files, figures, QUALITY, "ROUGE-1 and ROUGE-2 F", "one document", PANELS)


def build(model: Path, out: Path) -> None:
    """Write the two graphs into ``out``/encoder."""
    from components.quantize.export import export_fp32, optimise, quantise_dynamic

    folder = out / "encoder"
    folder.mkdir()
    raw = folder / "raw.onnx"
    export_fp32(model, raw)
    optimise(raw, folder / "fp32.onnx")
    raw.unlink()
    quantise_dynamic(folder / "fp32.onnx", folder / "int8.onnx")


def _documents(corpus: Path, examples: Path, settings: Settings) -> list[Document]:
    every = tables.read(corpus, examples)
    seen = [*tables.of_split(every, "val"), *tables.of_split(every, "train")]
    rows = np.random.default_rng(settings.seed).permutation(len(seen))[: settings.documents]
    return [replace(seen[row], sentences=seen[row].sentences[: settings.sentences]) for row in sorted(rows)]


def pick(encoder: OnnxEncoder, head: Head, document: Document) -> list[int]:
    """Sentence numbers of a document's bullets, as `serving.highlights` picks them."""
    texts = document.sentences
    vectors = encoder.encode(texts)
    scores = head.score(vectors, with_centroid(of_texts(texts), vectors))
    return choose(scores, vectors, [len(words(text)) for text in texts], head.selection)


def quality(documents: list[Document], chosen: list[list[int]], wanted: list[list[int]]) -> dict[str, float]:
    """Mean of ROUGE-1 and ROUGE-2, and ``same_bullets``: share of fp32's bullets that are chosen too (0..1)."""
    scores = [
        rouge([document.sentences[i] for i in rows], document.bullets).mean12
        for document, rows in zip(documents, chosen, strict=True)
    ]
    same = sum(len(set(a) & set(b)) for a, b in zip(chosen, wanted, strict=True))
    return {QUALITY: float(np.mean(scores)), "same_bullets": same / max(1, sum(map(len, wanted)))}


def latency(encoders: dict[str, OnnxEncoder], documents: list[Document], repeats: int) -> dict[str, dict[str, float]]:
    """Per variant: median milliseconds to encode one document, and sentences a second over all turns' medians.

    The variants take turns on every document, so that a busy moment of the machine hits all of them alike.
    """
    times: dict[str, list[float]] = {name: [] for name in encoders}
    counts: list[int] = []
    for turn in range(repeats + 2):
        texts = documents[turn % len(documents)].sentences
        for name, encoder in encoders.items():
            began = time.perf_counter()
            encoder.encode(texts)
            if turn >= 2:
                times[name].append(time.perf_counter() - began)
        if turn >= 2:
            counts.append(len(texts))
    found = {}
    for name, seconds in times.items():
        each = float(np.median([s / n for s, n in zip(seconds, counts, strict=True)]))
        found[name] = {"p50_ms_batch1": float(np.median(seconds)) * 1000, "sentences_per_s": 1 / each}
    return found
