"""Is the extracted answer the right sentence? Scores of reading comprehension, as pure functions on texts."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pandas as pd

from components.common.scores import Floats
from components.tasks.retrieval.evaluating.measure import PROTOCOL

METRICS = ("answer_em", "answer_f1", "answer_sentence")
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def score(answer: str, wanted: list[str]) -> tuple[float, float, float]:
    """Exact match, F1 over words, and whether the answer holds the whole gold sentence; each the best over ``wanted``.

    Case, punctuation and articles do not count (SQuAD, Rajpurkar et al. 2016); 0 to 1 each, 0 without a gold sentence.
    """
    mine = _words(answer)
    rows = [(float(mine == gold), _f1(mine, gold), float(_holds(mine, gold))) for gold in map(_words, wanted) if gold]
    em, f1, held = (max(column) for column in zip(*rows, strict=True)) if rows else (0.0, 0.0, 0.0)
    return em, f1, held


def scores(predictions: pd.DataFrame, questions: pd.DataFrame, passages: pd.DataFrame) -> dict[str, Floats]:
    """Per question of each set: float64 [n, 3] in the order of `METRICS`, questions by id.

    Gold sentences: the one that a rule made the question from; for a persona question also the summaries of all
    passages that answer it, where they stand in the indexed text.
    """
    asked = questions.set_index("question_id")
    texts = passages.drop_duplicates("passage_id").set_index("passage_id")[["summary", "text"]].to_dict("index")
    found = {}
    for name in PROTOCOL:
        rows = predictions[(predictions["set"] == name) & (predictions["retriever"] == "served")]
        rows = rows.sort_values("question_id")
        found[name] = np.asarray(
            [
                score(answer, _gold(asked.loc[question_id], texts if name == "persona" else {}))
                for question_id, answer in zip(rows["question_id"], rows["answer"], strict=True)
            ],
            np.float64,
        ).reshape(len(rows), len(METRICS))
    return {name: table for name, table in found.items() if len(table)}


def _gold(question: pd.Series, texts: dict[object, dict[object, str]]) -> list[str]:
    own = [texts[gold] for gold in question["gold"] if gold in texts]
    summaries = [" ".join(str(one["summary"]).split()) for one in own]
    told = [s for s, one in zip(summaries, own, strict=True) if s and s in " ".join(one["text"].split())]
    return [str(question["answer"]), *told]


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", re.sub(r"[^\w\s]", " ", text.lower())).split()


def _f1(mine: list[str], gold: list[str]) -> float:
    shared = sum((Counter(mine) & Counter(gold)).values())
    return 2 * shared / (len(mine) + len(gold))


def _holds(mine: list[str], gold: list[str]) -> bool:
    return f" {' '.join(gold)} " in f" {' '.join(mine)} "
