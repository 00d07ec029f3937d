"""Evaluate a highlighter: its bullets against people's, beside what any summary has to beat."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from components.evaluate.evaluated import Evaluated, EvaluateSettings

MOST, LONGEST = 60, 60


class Settings(EvaluateSettings):
    """Section ``evaluate`` of a highlighter; ``examples`` documents are shown beside their references."""

    examples: int = 6


def evaluate(bundle: Path, corpus: Path, examples: Path, settings: Settings) -> Evaluated:
    """Summarise every document of split "test" as the server would, and compare with the reference bullets.

    Out: predictions, one row a document and system (served, lead, longest, constant, oracle): document_id, system,
    source, condition, bullets, numbers (of the sentences), rouge1, rouge2, rouge12 (their mean), rougeLsum,
    length_ratio, redundancy. Figures: means such as ``rouge2_f_stem_1_ref_test`` of the served bullets, others with the
    system before the name; ``sentences_per_s_test``. Errors: `SluiceError` for a missing file or column, or an empty
    test split.
    """
    from components.tasks.highlights import tables
    from components.tasks.highlights.evaluating.report import build
    from components.tasks.highlights.evaluating.systems import figures, measure
    from serving.contract.load import load

    every = tables.read(corpus, examples)
    test = tables.of_split(every, "test")
    predictor = load(bundle, threads=settings.threads)
    try:
        found, took_s = measure(predictor, test, [d for d in every if d.split == "train"])
    finally:
        predictor.close()
    sentences = sum(len(d.sentences) for d in test)
    named = figures(found) | {"sentences_per_s_test": sentences / max(took_s, 1e-9)}
    page, showcase = build(found, test, named, settings)
    return Evaluated(found, named, page, {"test documents": len(test), "sentences": sentences}, showcase)


def asked(corpus: Path, examples: Path) -> list[dict[str, Any]]:
    """Test documents as requests with the reference bullets; at most 60, always the same ones.

    Documents of up to 60 sentences where there are any: a canary needs many answers in seconds. Errors: `SluiceError`
    for an empty test split.
    """
    from components.tasks.highlights import tables

    test = tables.of_split(tables.read(corpus, examples), "test")
    short = [d for d in test if len(d.sentences) <= LONGEST] or test
    return [
        {
            "id": document.id,
            "persona": "",
            "instance": {"sentences": _timed(document.sentences, document.times)},
            "expect": {"bullets": document.bullets},
            "units": float(len(document.sentences)),
        }
        for document in sorted(short, key=lambda d: d.id)[:MOST]
    ]


def _timed(sentences: list[str], times: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for text, (start, end) in zip(sentences, times, strict=True):
        known = math.isfinite(start) and math.isfinite(end)
        rows.append({"text": text, "start": start, "end": end} if known else {"text": text})
    return rows
