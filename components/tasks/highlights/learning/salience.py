"""The learner of highlights: encoder and head learn which sentences the oracle takes."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field

from components.common.encoder import TorchEncoder
from components.tasks.highlights.learning.data import Labelled, labelled
from components.tasks.highlights.learning.head import TorchHead, with_centroid
from components.tasks.highlights.rouge import PROTOCOL
from components.tasks.highlights.tables import of_split
from components.tasks.highlights.tables import read as read_tables
from components.train.learner import World, use_bf16
from components.train.settings import Hyperparameters, TrainSettings
from serving.highlights.select import Selection, choose

CHUNK = 32
"""Sentences that are padded together."""


class Settings(TrainSettings):
    """What training highlights adds.

    ``max_tokens`` of a sentence; ``sentences`` of a document in one step (longer ones: the oracle's and a random rest);
    ``hidden`` units of the head (0: a weighted sum); ``pace`` of the head against the adapter; ``eval_documents``
    validation documents (0: all). ``interpolation`` is 1: a head fits the encoder it was trained with, not one halfway
    back to the base.
    """

    max_tokens: int = Field(64, ge=8)
    sentences: int = Field(64, ge=8)
    hidden: int = Field(0, ge=0)
    pace: float = Field(100.0, gt=0)
    eval_documents: int = Field(0, ge=0)
    epochs: float = Field(4.0, gt=0)
    max_steps: int = Field(0, ge=0)
    evaluations: int = Field(4, ge=1)
    interpolation: float = Field(1.0, gt=0, le=1)


STUDY: dict[str, Any] = {
    "trial_rows": 84,
    "rungs": 2,
    "start": {"learning_rate": 3e-4, "batch": 4},
    "space": {"batch": (4, 8), "accumulation": (1,)},
    "train": {"sentences": 32, "eval_documents": 24},
}
"""A row is a document here: two passes over our own texts."""


class HighlightRows(NamedTuple):
    """Training and validation documents."""

    train: list[Labelled]
    val: list[Labelled]


def read(base: Path | str, corpus: Path | str, examples: Path | str, settings: Settings) -> HighlightRows:
    """Read, tokenise and label sentences.parquet and summaries.parquet; `SluiceError` on bad input."""
    documents = read_tables(corpus, examples)
    encoder = TorchEncoder(base, settings.max_tokens)
    train, val = of_split(documents, "train"), of_split(documents, "val")
    if settings.eval_documents and len(val) > settings.eval_documents:
        rows = np.random.default_rng(settings.seed).choice(len(val), settings.eval_documents, replace=False)
        val = [val[row] for row in sorted(rows)]
    return HighlightRows(labelled(train, encoder), labelled(val, encoder))


def learner(base: Path | str, data: HighlightRows, hyper: Hyperparameters, settings: Settings) -> "SalienceLearner":
    """A fresh encoder from the directory ``base`` and a fresh head, ready to learn from ``data``."""
    return SalienceLearner(TorchEncoder(base, settings.max_tokens), data, hyper, settings)


class SalienceLearner:
    """An encoder and a head that learn which sentences matter (see `components.train.learner.Learner`)."""

    adapter = True
    about = "LoRA on the base encoder and a head over vectors and features; the loss is a softmax over each document."

    def __init__(self, encoder: TorchEncoder, data: HighlightRows, hyper: Hyperparameters, settings: Settings) -> None:
        """The head is seeded; it starts as similarity to the document's centroid."""
        self.encoder, self.data, self.hyper, self.settings, self.spec = encoder, data, hyper, settings, encoder.spec
        self.autocast = encoder.autocast = use_bf16(hyper.precision)
        torch.manual_seed(settings.seed)
        self.head = TorchHead(encoder.spec.dim, settings.hidden, settings.pace).to(encoder.device)
        self.metric = f"rouge12_{PROTOCOL}_val"

    @property
    def model(self) -> Any:
        """The encoder's module."""
        return self.encoder.model

    @model.setter
    def model(self, module: Any) -> None:
        self.encoder.model = module

    def batches(self, epoch: int) -> list[list[int]]:
        """Shuffled batches of document numbers; a last batch of less than half the size is left for another epoch."""
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.data.train)).tolist()
        size = min(self.hyper.batch, len(order))
        found = [order[at : at + size] for at in range(0, len(order), size)]
        return found if 2 * len(found[-1]) >= size else found[:-1]

    def loss(self, rows: list[int], rng: np.random.Generator, world: World) -> torch.Tensor:
        """Cross-entropy between the labels and a softmax over each document's sentences; this rank's share of the mean.

        A document counts as one example however long it is (ListNet's top-one loss, Cao et al. 2007).
        """
        picked = {row: self._picked(self.data.train[row], rng) for row in rows}
        mine = world.share(rows)[world.rank]
        ids = [self.data.train[row].ids[i] for row in mine for i in picked[row]]
        vectors = self.encoder.embed_sorted(ids, CHUNK)
        total, at = vectors.sum() * 0, 0
        for row in mine:
            document, kept = self.data.train[row], picked[row]
            part = vectors[at : at + len(kept)]
            at += len(kept)
            features = torch.from_numpy(document.features[kept]).to(part.device)
            scores = self.head(part, with_centroid(features, part))
            labels = torch.from_numpy(document.labels[kept]).to(part.device)
            total = total - (labels / labels.sum() * torch.log_softmax(scores, 0)).sum()
        return total / len(rows)

    def _picked(self, document: Labelled, rng: np.random.Generator) -> list[int]:
        """The sentences of a step: all, or the oracle's and a random rest."""
        count, most = len(document.ids), self.settings.sentences
        if count <= most:
            return list(range(count))
        others = np.setdiff1d(np.arange(count), document.oracle)
        rest = rng.choice(others, most - min(most, len(document.oracle)), replace=False)
        return sorted([*document.oracle, *rest.tolist()])

    def measure(self) -> dict[str, float]:
        """ROUGE-1, ROUGE-2, their mean (which picks the best step, as it decides at the gate), on validation.

        Bullets are chosen as serving chooses them. ``expected_rouge_val`` is the ROUGE-1 + ROUGE-2 of one sentence
        drawn as the softmax says, over that of the best sentence: it moves with less chance, and says how sure the
        model is.
        """
        self.encoder.model.eval()
        rows = [self._measured(document) for document in self.data.val]
        one, two, expected = np.mean(rows, axis=0).tolist()
        found = {f"rouge1_{PROTOCOL}_val": one, f"rouge2_{PROTOCOL}_val": two, self.metric: (one + two) / 2}
        return {**found, "expected_rouge_val": expected}

    def _measured(self, document: Labelled) -> tuple[float, float, float]:
        with torch.inference_mode():
            vectors = self.encoder.embed_sorted(document.ids, CHUNK)
            features = torch.from_numpy(document.features).to(vectors.device)
            scores = self.head(vectors, with_centroid(features, vectors)).float()
            shares = torch.softmax(scores, 0).cpu().numpy()
        chosen = choose(scores.cpu().numpy(), vectors.cpu().numpy(), document.sizes, Selection())
        return *document.rouge(chosen), float(shares @ document.worth / max(float(document.worth.max()), 1e-9))

    def sizes(self) -> dict[str, float]:
        """Numbers of training documents and sentences."""
        return {
            "training_documents": len(self.data.train),
            "training_sentences": sum(len(document.ids) for document in self.data.train),
        }

    def save(self, directory: Path) -> None:
        """Write head.json."""
        self.head.plain().write(directory)
