"""Evaluate a retriever: every question's full ranking, and whether its confidence can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from components.evaluate.evaluated import Evaluated, EvaluateSettings
from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError

LEAST, MOST = 8, 90


class Settings(EvaluateSettings):
    """Section ``evaluate`` of a retriever: also the bins of confidence."""

    bins: int = Field(10, ge=2, le=50)


def evaluate(bundle: Path, corpus: Path, examples: Path, settings: Settings) -> Evaluated:
    """Measure the bundle directory on the frozen questions.

    In: passages and questions (parquet). Out: figures by name and protocol, such as ``recall@10_full_withheld`` (test
    set, its own sentences withheld) and ``mrr_full_persona`` (persona set, served index); ``dense_`` and ``bm25_``
    before the name are the retrievers alone. Errors: `SluiceError` for a missing column, or no test question that can
    be answered.
    """
    from components.tasks.retrieval.evaluating.measure import PROTOCOL, predict, read
    from components.tasks.retrieval.evaluating.report import Evaluation, build
    from components.tasks.retrieval.evaluating.summary import Confidence, figures, levels, summarise_answers

    texts, asked_ = read(corpus, examples)
    found = predict(bundle, texts, asked_, settings.threads)
    scores, slices = levels(found, settings.resamples, settings.seed)
    there = [name for name in PROTOCOL if name in set(found["set"])]
    rest = (settings.bins, settings.resamples, settings.seed)
    confidence = {name: Confidence(found, name, *rest) for name in there}
    answered = summarise_answers(found, asked_, texts, settings.resamples, settings.seed)
    shown = Evaluation(Bundle.read(bundle), texts, asked_, found, scores, slices, confidence, answered)
    sizes = found.groupby("set")["question_id"].nunique()
    counts = {"passages": len(texts), **{f"{name} questions": int(sizes[name]) for name in confidence}}
    return Evaluated(found, figures(scores, confidence, answered), build(shown, settings.examples), counts)


def asked(corpus: Path, examples: Path) -> list[dict[str, Any]]:
    """The persona questions as a load test asks them, each with the paths that answer it.

    The paths come from the questions (``path``, and ``places`` where that column is), never from the bundle: an index
    that names wrong files must not mark itself. Where there are fewer than ``LEAST`` persona questions (a source of
    one's own), test questions join them. At most ``MOST`` are asked, always the same ones: stable and canary must
    answer the same questions to be compared.
    """
    table = pd.read_parquet(examples)
    rows: list[dict[str, Any]] = []
    for split in ("persona", "test"):
        part = table[(table["split"] == split) & (table["gold"].map(len) > 0)].sort_values("question_id")
        part = part.sample(min(len(part), MOST - len(rows)), random_state=0)
        for row in part.to_dict("records"):
            text, persona = str(row["question"]), str(row.get("persona") or "")
            gold = {str(row["path"]), *row.get("places", ())}
            one = {"id": str(row["question_id"]), "persona": persona, "instance": {"question": text}}
            rows.append({**one, "expect": {"paths": sorted(gold)}, "units": 1.0})
        if len(rows) >= LEAST:
            break
    if not rows:
        raise SluiceError(f"{examples}: no persona and no test questions, so nothing to ask; see components/make_qa")
    return rows
