"""From a bundle and the questions to predictions: every question's full ranking, by the retriever that would serve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from serving.contract.errors import SluiceError
from serving.retrieval.passages import require_columns, withhold

if TYPE_CHECKING:
    from serving.retrieval.retriever import Retriever

QUESTIONS = ("question_id", "question", "answer", "gold", "path", "category", "persona", "split", "withheld")
PASSAGES = ("passage_id", "path", "name", "kind", "text", "n_tokens", "documented")
RETRIEVERS = ("served", "dense", "bm25")
PROTOCOL = {"test": "withheld", "persona": "persona"}
"""How each question set is measured: the test set on withheld texts, the persona set on the served index."""

NOWHERE = "unanswerable"
"""The set of those persona questions that the source does not answer: only confidence is measured on them."""


def read(passages: Path, questions: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The two tables, columns checked. Errors: `SluiceError` naming the column that is missing."""
    texts, asked = pd.read_parquet(passages), pd.read_parquet(questions)
    require_columns(texts, PASSAGES, "passages.parquet", "ingest")
    require_columns(asked, QUESTIONS, "questions.parquet", "make_qa")
    return texts, asked


def predict(bundle: Path, passages: pd.DataFrame, questions: pd.DataFrame, threads: int) -> pd.DataFrame:
    """Rank all passages for the frozen test set and the persona set.

    Out: one row a question and retriever (served, dense, bm25): question_id, set, category, persona, retriever, rank
    int32 (1-based, of the best gold passage; passages + 1 if none is indexed), confidence float32 and abstained (served
    only, else NaN and False), top (5 passage ids), correct (rank 1), path (of the gold passage), answer (the extracted
    one from the served index, whether or not it would have abstained; served only, else ""). Questions whose gold
    passages are all missing from ``passages`` are left out; sources of one's own have no persona questions, so that
    set may be absent, and `NOWHERE`, which holds served rows only. Errors: `SluiceError` if no test question is left.
    """
    from serving.contract.load import load

    retriever: Retriever = load(bundle, threads=threads)  # type: ignore[assignment]
    try:
        test, persona = _set(questions, passages, "test"), _set(questions, passages, "persona")
        if test.empty:
            raise SluiceError(
                "questions.parquet: no question of split 'test' has a gold passage in passages.parquet; "
                "ingest a larger source, so that every split gets files (see components/make_qa)"
            )
        served = _on(retriever, passages)
        tables = [_rows(retriever.reindex(withhold(passages, questions)), served, test, "test")]
        if not persona.empty:
            tables.append(_rows(served, served, persona, "persona"))
            nowhere = questions[(questions["split"] == "persona") & (questions["gold"].map(len) == 0)]
            found = _rows(served, served, nowhere.reset_index(drop=True), NOWHERE)
            tables.append(found[found["retriever"] == "served"])
        return pd.concat(tables, ignore_index=True)
    finally:
        retriever.close()


def _on(retriever: Retriever, passages: pd.DataFrame) -> Retriever:
    """The index as it is served; a champion packed from other sources gets today's, or it would fail for its age."""
    same = set(retriever.index.ids) == set(passages["passage_id"])
    return retriever if same else retriever.reindex(passages)


def _set(questions: pd.DataFrame, passages: pd.DataFrame, name: str) -> pd.DataFrame:
    chosen = questions[questions["split"] == name]
    known = set(passages["passage_id"])
    answerable = np.array([any(g in known for g in gold) for gold in chosen["gold"]], dtype=bool)
    return chosen[answerable].reset_index(drop=True)


def _rows(retriever: Retriever, served: Retriever, questions: pd.DataFrame, name: str) -> pd.DataFrame:
    """One row a question and retriever, ranked by ``retriever`` and answered by ``served``."""
    answers = served.quotes(questions["question"].tolist())
    ranks = retriever.ranks(questions["question"].tolist(), [list(gold) for gold in questions["gold"]])
    nothing = np.full(len(questions), np.nan, dtype=np.float32)
    tables = []
    for kind in RETRIEVERS:
        mine = kind == "served"
        table = questions[["question_id", "category", "persona", "path"]].copy()
        table["set"], table["retriever"] = name, kind
        table["rank"] = np.asarray(ranks.best[kind], dtype=np.int32)
        table["confidence"] = np.asarray(ranks.confidence, dtype=np.float32) if mine else nothing
        table["abstained"] = np.asarray(ranks.abstained, dtype=bool) if mine else False
        table["answer"] = answers if mine else ""
        table["top"] = [list(ids[:5]) for ids in ranks.top[kind]]
        table["correct"] = table["rank"] == 1
        tables.append(table)
    return pd.concat(tables, ignore_index=True)
