"""Evaluate a bundle from files to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from components.evaluate.measure import PROTOCOL, predict, read
from components.evaluate.report import Evaluation, build
from components.evaluate.settings import EvaluateSettings
from components.evaluate.summary import Confidence, figures, summarise
from serving.bundle import Bundle
from serving.files import atomic_file


def evaluate_files(
    bundle: Path, passages: Path, questions: Path, settings: Mapping[str, Any], predictions: Path, page: Path
) -> dict[str, float]:
    """Measure the bundle directory on the frozen questions; write predictions (parquet) and page (HTML).

    Out: figures by name and protocol, such as ``recall@10_full_withheld`` (test set, its own sentences withheld) and
    ``mrr_full_persona`` (persona set, served index); ``dense_`` and ``bm25_`` before the name are the retrievers alone.
    Errors: `SluiceError` for a directory that is no bundle, a missing column, or no test question that can be answered.
    """
    chosen = EvaluateSettings(**settings)
    texts, asked = read(passages, questions)
    found = predict(bundle, texts, asked, chosen)
    summary = summarise(found, chosen.resamples, chosen.seed)
    confidence = {name: Confidence(found, name, chosen.bins) for name in PROTOCOL if name in set(found["set"])}
    named = figures(summary, confidence)
    with atomic_file(predictions) as scratch:
        found.to_parquet(scratch, index=False, coerce_timestamps="us")
    build(Evaluation(Bundle.read(bundle), texts, asked, found, summary, confidence, named), chosen).write(page)
    return named
