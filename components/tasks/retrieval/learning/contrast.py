"""The contrastive learner of an encoder."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from components.common.encoder import TorchEncoder
from components.tasks.retrieval.learning.data import Corpus, Validation, corpus, read_tables, validation
from components.tasks.retrieval.learning.mining import DUPLICATE, mine, plan
from components.train.learner import World, use_bf16
from components.train.settings import Hyperparameters, TrainSettings

TEMPERATURE = 0.05
"""Of the softmax."""
ASKED = 4
"""Most questions of one step that share a passage's embedding."""
CHUNK = 16
"""Passages that are padded together, and a quarter of the questions."""


class Settings(TrainSettings):
    """What training a retriever adds.

    ``max_tokens`` window while training; ``hard_negatives`` mined per passage; ``eval_*`` bound the
    validation.
    """

    max_tokens: int = Field(128, ge=8)
    hard_negatives: int = Field(2, ge=0)
    eval_passages: int = Field(600, ge=0)
    eval_questions: int = Field(400, ge=1)


STUDY: dict[str, Any] = {
    "train": {"max_tokens": 64, "hard_negatives": 0, "eval_passages": 240, "eval_questions": 160},
}


class RetrievalRows(NamedTuple):
    """Training passages with their questions, and a fixed sample of the validation split; as token ids."""

    train: Corpus
    val: Validation


def read(base: Path | str, passages: Path | str, questions: Path | str, settings: Settings) -> RetrievalRows:
    """Read and tokenise passages.parquet and questions.parquet; `SluiceError` on bad input."""
    tables = read_tables(passages, questions)
    encoder = TorchEncoder(base, settings.max_tokens)
    held = validation(corpus(*tables, "val", encoder), settings.eval_questions, settings.eval_passages, settings.seed)
    return RetrievalRows(corpus(*tables, "train", encoder), held)


def learner(base: Path | str, data: RetrievalRows, hyper: Hyperparameters, settings: Settings) -> "ContrastiveLearner":
    """A fresh encoder from the directory ``base``, ready to learn from ``data``."""
    return ContrastiveLearner(TorchEncoder(base, settings.max_tokens), data, hyper, settings)


class ContrastiveLearner:
    """An encoder that learns to put questions beside their passages (see `components.train.learner.Learner`)."""

    about = "LoRA on the base encoder, with in-batch and mined hard negatives; the loss is InfoNCE."
    head = None
    adapter = True

    def __init__(self, encoder: TorchEncoder, data: RetrievalRows, hyper: Hyperparameters, settings: Settings) -> None:
        """Mines the hard negatives with the encoder as it is."""
        self.encoder, self.data, self.val = encoder, data.train, data.val
        self.hyper, self.settings, self.spec = hyper, settings, encoder.spec
        self.metric = f"mrr_{data.val.protocol}"
        self.autocast = encoder.autocast = use_bf16(hyper.precision)
        self.asked = data.train.questions_of()
        self.hard = mine(encoder, data.train, settings.hard_negatives)

    @property
    def model(self) -> Any:
        """The encoder's module."""
        return self.encoder.model

    @model.setter
    def model(self, module: Any) -> None:
        self.encoder.model = module

    def batches(self, epoch: int) -> list[list[int]]:
        """Batches of passage rows."""
        return plan(self.data, self.hard, self.hyper.batch, self.settings.seed, epoch)

    def loss(self, rows: list[int], rng: np.random.Generator, world: World) -> torch.Tensor:
        """Loss of one micro-batch of passage rows, the same on every rank; gradients reach this rank's share."""
        shares = world.share(rows)
        picked = {row: self._questions(row, rng) for row in rows}
        asked = [[q for row in share for q in picked[row]] for share in shares]
        mine, ours = shares[world.rank], asked[world.rank]
        passages = self.encoder.embed_sorted([self.data.passages[row] for row in mine], CHUNK)
        questions = self.encoder.embed_sorted([self.data.questions[q] for q in ours], 4 * CHUNK)
        passages = world.gather(passages, [len(share) for share in shares])
        questions = world.gather(questions, [len(share) for share in asked])
        place = {row: at for at, row in enumerate(row for share in shares for row in share)}
        passages = passages[[place[row] for row in rows]]  # the batch's own order, whatever the number of ranks
        at = {row: number for number, row in enumerate(rows)}
        flat = [q for share in asked for q in share]
        target = torch.tensor([at[self.data.first[q]] for q in flat], device=passages.device)
        allowed = self._allowed(flat, rows, target, passages.detach())
        return info_nce(questions, passages, target, allowed, TEMPERATURE)

    def _questions(self, row: int, rng: np.random.Generator) -> list[int]:
        """The questions that this visit to a passage asks; none for a passage that is there as a negative only."""
        mine = self.asked.get(row, [])
        return mine if len(mine) <= ASKED else sorted(rng.choice(mine, ASKED, replace=False).tolist())

    def _allowed(self, asked: list[int], rows: list[int], target: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Which passages count as wrong for which question: not its golds, and no near copies of its gold."""
        others = [[row not in self.data.golds[q] for row in rows] for q in asked]
        return torch.tensor(others, device=vectors.device) & (vectors[target] @ vectors.T < DUPLICATE)

    def measure(self) -> dict[str, float]:
        """MRR and recall@1 of dense retrieval on the validation split (0..1)."""
        return self.val.measure(self.encoder)

    def sizes(self) -> dict[str, float]:
        """Number of training questions."""
        return {"training_questions": len(self.data.questions)}

    def save(self, directory: Path) -> None:
        """Nothing: the adapter is all that was learned."""


def info_nce(
    questions: torch.Tensor,
    passages: torch.Tensor,
    target: torch.Tensor,
    allowed: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """InfoNCE (van den Oord et al. 2018) over in-batch and mined negatives; a scalar.

    In: ``questions`` [q, d] and ``passages`` [p, d] of length 1, ``target`` [q] the right passage of each question,
    ``allowed`` bool [q, p], False where a passage must not count as wrong (another gold, a copy of the gold).
    """
    own = torch.nn.functional.one_hot(target, len(passages)).bool()
    scores = (questions @ passages.T / temperature).masked_fill(~(allowed | own), float("-inf"))
    return cross_entropy(scores, target)
