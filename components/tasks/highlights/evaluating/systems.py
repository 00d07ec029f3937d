"""The served bullets and four others by the same rules of length: lead, longest, one constant output, the oracle."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from components.common.levels import Metric
from components.tasks.highlights.oracle import oracle
from components.tasks.highlights.rouge import PROTOCOL, Reference, rouge, tokens
from components.tasks.highlights.tables import Document
from serving.highlights.select import Selection, choose
from serving.highlights.text import STOP, words

if TYPE_CHECKING:
    from serving.contract.predictor import Predictor

SYSTEMS = {
    "served": "as served",
    "lead": "first sentences (LEAD)",
    "longest": "longest sentences",
    "constant": "one constant output",
    "oracle": "oracle: the best choice there is",
}
SHOWN = {
    name: Metric(f"{score}_{PROTOCOL}_test", name, "the test set", score)
    for name, score in {"ROUGE-1 F": "rouge1", "ROUGE-2 F": "rouge2", "ROUGE-L F": "rougeLsum"}.items()
}
SCORES = ("rouge1", "rouge2", "rouge12", "rougeLsum", "length_ratio", "redundancy")
REFERENCES = 60
"""Training summaries among which the constant output is looked for."""


def measure(predictor: Predictor, test: Sequence[Document], train: Sequence[Document]) -> tuple[pd.DataFrame, float]:
    """One row a document and system (see `evaluating.evaluate`), and seconds that serving took."""
    instances = [predictor.parse({"sentences": [{"text": text} for text in d.sentences]}) for d in test]
    predictor.warm()
    began = time.perf_counter()
    results = [predictor.predict([instance])[0] for instance in instances]
    took_s = time.perf_counter() - began
    same = constant(train or test)
    rows = []
    for document, result in zip(test, results, strict=True):
        chosen = [bullet["sentence"] for bullet in result["bullets"]]
        picked = {
            "served": chosen,
            **trivial(document, len(chosen)),
            "oracle": oracle(document.sentences, document.bullets),
        }
        for system, numbers in picked.items():
            rows.append(_row(document, system, [document.sentences[i] for i in numbers], numbers))
        rows.append(_row(document, "constant", same, []))
    return pd.DataFrame(rows), took_s


def trivial(document: Document, count: int) -> dict[str, list[int]]:
    """Sentence numbers of the first and of the longest sentences, ``count`` of them, within the same room of words.

    With three bullets the first one is LEAD-3.
    """
    sizes = [len(words(text)) for text in document.sentences]
    apart, rules = np.zeros((len(sizes), 1), np.float32), Selection(redundancy=0.0, most=max(1, count))
    order = {"lead": -np.arange(len(sizes)), "longest": np.asarray(sizes)}
    return {name: choose(scores, apart, sizes, rules) for name, scores in order.items()}


def constant(train: Sequence[Document]) -> list[str]:
    """The reference that is most like all others: the best that one output for everything can do, nearly."""
    some = list(train)[:REFERENCES]
    stems = [tokens(document.reference) for document in some]
    references = [Reference(document.bullets) for document in some]
    likeness = [sum(sum(reference.score(stem)) for reference in references) for stem in stems]
    return some[int(np.argmax(likeness))].bullets


def _row(document: Document, system: str, bullets: list[str], numbers: list[int]) -> dict[str, object]:
    found = rouge(bullets, document.bullets)
    size = sum(len(words(text)) for text in document.sentences)
    return {
        "document_id": document.id,
        "system": system,
        "source": document.source,
        "condition": document.condition,
        "bullets": bullets,
        "numbers": numbers,
        "rouge1": found.rouge1,
        "rouge2": found.rouge2,
        "rouge12": found.mean12,
        "rougeLsum": found.rougeLsum,
        "length_ratio": sum(len(words(text)) for text in bullets) / max(1, size),
        "redundancy": redundancy(bullets),
    }


def redundancy(bullets: Sequence[str]) -> float:
    """Largest share of content words that two bullets have in common (Jaccard, 0..1); 0 for fewer than two."""
    sets = [set(words(text)) - STOP for text in bullets]
    return max((len(a & b) / max(1, len(a | b)) for a, b in combinations(sets, 2)), default=0.0)


def figures(found: pd.DataFrame) -> dict[str, float]:
    """Means by system: ROUGE named with its protocol, length ratio, redundancy; ``distinct_test`` of all bullets."""
    named: dict[str, float] = {}
    for system, part in found.groupby("system"):
        prefix = "" if system == "served" else f"{system}_"
        for score in SCORES:
            protocol = f"{PROTOCOL}_test" if score.startswith("rouge") else "test"
            named[f"{prefix}{score}_{protocol}"] = float(part[score].mean())
    named["distinct_test"] = distinct(found[found["system"] == "served"])
    return named


def distinct(served: pd.DataFrame) -> float:
    """Share of all bullets that occur once only when texts are compared: 1 where no two documents share a bullet."""
    bullets = [text for many in served["bullets"] for text in many]
    return len(set(bullets)) / max(1, len(bullets))
