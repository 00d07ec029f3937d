"""Training and validation rows as token ids, under the protocol "withheld"."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from components.common.encoder import Ids, TorchEncoder
from components.common.tables import read_table
from serving.contract.errors import SluiceError

PASSAGE_COLUMNS = ("passage_id", "text", "split")
QUESTION_COLUMNS = ("question_id", "question", "gold", "withheld", "split")


@dataclass(frozen=True)
class Corpus:
    """One split: passages and questions as token ids, and which passages (row numbers) answer which question.

    ``golds[i]`` holds every right passage of question ``i``; ``first[i]`` is the one it was made from. Questions of the
    same wording share their golds, so that none counts as the other's wrong answer.
    """

    passages: Ids
    questions: Ids
    golds: list[frozenset[int]]
    first: list[int]
    texts: tuple[list[str], list[str]]

    def questions_of(self) -> dict[int, list[int]]:
        """Row numbers of the questions by the passage they were made from, in order."""
        by_passage: dict[int, list[int]] = {}
        for question, passage in enumerate(self.first):
            by_passage.setdefault(passage, []).append(question)
        return by_passage


def read_tables(passages: Path | str, questions: Path | str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Passages with the questions' own sentences cut out of their text, and questions; both parquet files.

    Raises `SluiceError` that names a missing file or column.
    """
    from serving.retrieval.passages import withhold

    made = "ingest and make_qa", "make_qa"
    texts, asked = read_table(passages, PASSAGE_COLUMNS, *made), read_table(questions, QUESTION_COLUMNS, *made)
    return withhold(texts, asked), asked


def corpus(passages: pd.DataFrame, questions: pd.DataFrame, split: str, encoder: TorchEncoder) -> Corpus:
    """Tokenise the passages of ``split`` and the questions whose first gold is among them.

    Raises `SluiceError` when the split has no such question.
    """
    kept = passages[passages.split == split]
    row = {passage_id: at for at, passage_id in enumerate(kept.passage_id)}
    asked = questions[questions.split == split]
    asked = asked[[bool(len(gold)) and gold[0] in row for gold in asked.gold]]
    if asked.empty:
        raise SluiceError(f"questions: none of split '{split}' has its gold passage there; see components/make_qa")
    same: dict[str, set[int]] = {}
    for question, gold in zip(asked.question, asked.gold, strict=True):
        same.setdefault(question, set()).update(row[g] for g in gold if g in row)
    texts = (kept.text.tolist(), asked.question.tolist())
    return Corpus(
        passages=encoder.tokenize(texts[0]),
        questions=encoder.tokenize(texts[1]),
        golds=[frozenset(same[question]) for question in asked.question],
        first=[row[gold[0]] for gold in asked.gold],
        texts=texts,
    )


def sample(full: Corpus, n_questions: int, n_passages: int, seed: int) -> Corpus:
    """A smaller corpus: ``n_questions`` questions, their golds, and distractors up to ``n_passages`` (0: all)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    chosen = sorted(rng.permutation(len(full.questions))[:n_questions].tolist())
    golds = {gold for question in chosen for gold in full.golds[question]}
    others = [p for p in rng.permutation(len(full.passages)).tolist() if p not in golds]
    room = max(n_passages - len(golds), 0) if n_passages else len(others)
    rows = sorted([*golds, *others[:room]])
    at = {old: new for new, old in enumerate(rows)}
    return Corpus(
        passages=_take(full.passages, rows),
        questions=_take(full.questions, chosen),
        golds=[frozenset(at[g] for g in full.golds[q]) for q in chosen],
        first=[at[full.first[q]] for q in chosen],
        texts=([full.texts[0][r] for r in rows], [full.texts[1][q] for q in chosen]),
    )


def _take(ids: Ids, rows: Sequence[int]) -> Ids:
    return [ids[row] for row in rows]


@dataclass(frozen=True)
class Validation:
    """Validation questions and the passages they are ranked among; ``protocol`` completes the metrics' names.

    "full_withheld_val" ranks every passage of the split; "of600_withheld_val" 600 of them: a smaller field, so easier.
    """

    data: Corpus
    protocol: str

    def measure(self, encoder: TorchEncoder) -> dict[str, float]:
        """Mean reciprocal rank and recall@1 of the best gold passage, in 0..1, higher is better."""
        encoder.model.eval()
        with torch.inference_mode():
            passages = encoder.embed_sorted(self.data.passages, 64)
            questions = encoder.embed_sorted(self.data.questions, 64)
            scores = questions @ passages.T
            ranks = []
            for row, golds in enumerate(self.data.golds):
                best = scores[row, sorted(golds)].max()
                ranks.append(1 + int((scores[row] > best).sum()))
        placed = torch.tensor(ranks, dtype=torch.float64)
        return {
            f"mrr_{self.protocol}": float((1 / placed).mean()),
            f"recall@1_{self.protocol}": float((placed == 1).double().mean()),
        }


def validation(full: Corpus, n_questions: int, n_passages: int, seed: int) -> Validation:
    """A fixed sample of the validation split; all of its passages where ``n_passages`` is 0 or covers them."""
    data = sample(full, n_questions, n_passages, seed)
    whole = len(data.passages) == len(full.passages)
    return Validation(data, "full_withheld_val" if whole else f"of{len(data.passages)}_withheld_val")
