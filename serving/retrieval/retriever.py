"""The retrieval predictor: questions in, cited answers out."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.core.features import OnlineFeatures
from serving.core.onnx_encoder import OnnxEncoder
from serving.core.schema import Reader
from serving.retrieval import PASSAGES
from serving.retrieval.answer import SOURCES, Answers
from serving.retrieval.calibration import Calibration, margins, probabilities
from serving.retrieval.index import Index, encode_all
from serving.retrieval.known import KnownVectors
from serving.retrieval.passages import TIMES, with_new_passages
from serving.retrieval.ranker import Candidates, Ranker, best, candidates, passage_features
from serving.retrieval.ranking import gold_ranks, gold_rows, served_ranks

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Ranks:
    """Where the gold passages of q questions stand in the full ranking over all n passages.

    ``best[retriever]``: int32 [q], 1-based rank of the best-placed gold passage, n + 1 if none is in the index;
    ``top[retriever]``: the ids of the first 5 passages of each question; retrievers are served, dense and bm25.
    ``confidence``: float32 [q], ``abstained``: bool [q], both of the served ranking.
    """

    best: dict[str, np.ndarray]
    top: dict[str, list[list[str]]]
    confidence: np.ndarray
    abstained: np.ndarray


class Found(NamedTuple):
    """A batch's search: ``dense`` and ``bm25`` float32 [q, n], candidates with ``scores`` [q, c], ``confidence``."""

    dense: np.ndarray
    bm25: np.ndarray
    candidates: Candidates
    scores: np.ndarray
    confidence: np.ndarray


class Retriever:
    """A bundle of task retrieval, opened (see `serving.contract.predictor.Predictor`)."""

    def __init__(
        self,
        bundle: Bundle,
        encoder: OnnxEncoder,
        index: Index,
        answers: Answers,
        snapshot: "pd.DataFrame",
        rules: tuple[Ranker, Calibration],
        known: KnownVectors,
        feature_server: str = "",
    ) -> None:
        self.bundle, self.encoder, self.index = bundle, encoder, index
        self.ranker, self.calibration = rules
        self.features = OnlineFeatures(PASSAGES, index.ids, snapshot, feature_server)
        self._answers, self._snapshot, self._known = answers, snapshot, known
        self._reader = Reader(bundle.inputs)
        self._paths = frozenset(index.columns["path"])
        self._static: tuple[Mapping[str, np.ndarray], int, np.ndarray] | None = None

    @classmethod
    def open(cls, directory: Path, bundle: Bundle, variant: str | None = None, threads: int = 1) -> "Retriever":
        """Read every part of the bundle at ``directory``. Errors: `SluiceError` if one is missing or broken."""
        import pandas as pd

        directory = Path(directory)
        encoder = OnnxEncoder(directory, bundle.file_of(variant), threads, bundle.text_encoder().max_tokens)
        index = Index.open(directory / "index")
        try:
            snapshot = pd.read_parquet(directory / "index" / "snapshot.parquet")
        except (OSError, ValueError) as error:
            raise SluiceError(f"{directory}: no feature snapshot can be read ({error}); pack it again") from error
        return cls(
            bundle,
            encoder,
            index,
            Answers.open(directory / "index"),
            snapshot,
            read_rules(directory / "ranker.json"),
            KnownVectors(directory / "index"),
            os.environ.get("SLUICE_FEATURE_SERVER", ""),
        )

    def warm(self) -> None:
        """Answer one question, so that the first user does not pay for it."""
        self.predict([self.parse({"question": "What is this about?"})])

    def parse(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Check one instance against the input schema, fill in the defaults. Errors: `SluiceError` naming the field."""
        instance = self._reader.read(payload)
        path = instance.get("path", "")
        if path and path not in self._paths:
            raise SluiceError(
                f"'path' is {path[:60]!r}, which holds no passage; name one as sources do, or leave it out"
            )
        return instance

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts: float32 [n, dim], L2-normalised."""
        return self.encoder.encode(texts)

    def count_tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Tokens that the encoder reads of each text, after truncation: int32 [n]."""
        return self.encoder.count_tokens(texts)

    def close(self) -> None:
        """Stop refreshing features."""
        self.features.close()

    def search(self, questions: Sequence[str], queries: np.ndarray, paths: Sequence[str] = ()) -> Found:
        """Rank candidates for questions whose vectors are ``queries`` (float32 [q, dim]).

        ``paths``: for each question the only path whose passages count, "" for any; none at all: any for all.
        """
        dense, bm25 = self.index.dense(queries), self.index.bm25.scores(questions)
        if any(paths):
            inside = np.asarray([[not path or path == own for own in self.index.columns["path"]] for path in paths])
            dense, bm25 = np.where(inside, dense, np.float32(-1)), np.where(inside, bm25, np.float32(0))
        found = candidates(dense, bm25)
        if any(paths):
            found = found._replace(valid=found.valid & np.take_along_axis(inside, found.rows, 1))
        scores = self.ranker.score(found, self._static_scores()[found.rows])
        first = np.take_along_axis(found.rows, scores.argmax(axis=1)[:, None], 1)
        margin = margins(scores, found, self.index.bm25.coverage(questions, first)[:, 0])
        confidence = self.calibration.confidence(margin, dense.max(axis=1))
        return Found(dense, bm25, found, scores, confidence)

    def predict(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Answer parsed instances: ``{answer, confidence, abstained, sources}`` each (see schema.OUTPUTS)."""
        if not instances:
            return []
        questions = [instance["question"] for instance in instances]
        queries = self.embed(questions)
        found = self.search(questions, queries, [instance.get("path", "") for instance in instances])
        order = np.argsort(-found.scores, axis=1, kind="stable")
        shares = probabilities(found.scores)
        results = []
        for at, instance in enumerate(instances):
            count = max(instance["top_k"], SOURCES)
            slots = self._distinct(order[at], found.candidates.rows[at], found.candidates.valid[at], count)
            rows = found.candidates.rows[at, slots].tolist()
            share = shares[at, slots].tolist()
            abstained = bool(found.confidence[at] < self.calibration.threshold)
            answer = "" if abstained else self._quote(questions[at], queries[at], rows, share)
            told = {"answer": answer, "confidence": round(float(found.confidence[at]), 4), "abstained": abstained}
            results.append({**told, "sources": self._sources(rows[: instance["top_k"]], share)})
        return results

    def quotes(self, questions: Sequence[str], batch: int = 64) -> list[str]:
        """What each question would be answered with if confidence never made the retriever abstain."""
        answers = []
        for start in range(0, len(questions), batch):
            asked = questions[start : start + batch]
            queries = self.embed(asked)
            found = self.search(asked, queries)
            order, shares = np.argsort(-found.scores, axis=1, kind="stable"), probabilities(found.scores)
            for at, question in enumerate(asked):
                slots = self._distinct(order[at], found.candidates.rows[at], found.candidates.valid[at], SOURCES)
                rows = found.candidates.rows[at, slots].tolist()
                answers.append(self._quote(question, queries[at], rows, shares[at, slots].tolist()))
        return answers

    def _distinct(self, order: np.ndarray, rows: np.ndarray, valid: np.ndarray, count: int) -> list[int]:
        """The first ``count`` slots of different symbols: a long docstring fills several passages of one place."""
        column, slots, seen = self.index.columns, [], set()
        for slot in order:
            # Spans of one recording share its name, but each is a place of its own.
            place = tuple(column[name][rows[slot]] for name in ("path", "name", *TIMES[:1]) if name in column)
            if valid[slot] and place not in seen:
                seen.add(place)
                slots.append(int(slot))
                if len(slots) == count:
                    break
        return slots

    def _quote(self, question: str, query: np.ndarray, rows: list[int], shares: list[float]) -> str:
        column, rarity = self.index.columns, self.index.bm25.rarity(question)
        fallback = (column[name][row] for row in rows[:SOURCES] for name in ("summary", "signature") if name in column)
        return self._answers.compose(query, rarity, rows[:SOURCES], shares[:SOURCES], fallback)

    def _sources(self, rows: list[int], shares: list[float]) -> list[dict[str, Any]]:
        column = self.index.columns
        return [
            {
                "passage_id": column["passage_id"][row],
                "path": column["path"][row],
                "name": column["name"][row],
                "lines": [column["start_line"][row], column["end_line"][row]],
                "url": column["url"][row],
                "score": round(share, 4),
                "text": column["text"][row],
                **{name.removesuffix("_s"): column[name][row] for name in ("commit", *TIMES) if name in column},
            }
            for row, share in zip(rows, shares[: len(rows)], strict=True)
        ]

    def ranks(self, questions: Sequence[str], gold: Sequence[Sequence[str]], batch: int = 64) -> Ranks:
        """Full rankings of the questions, reduced to what an evaluation needs; memory grows with ``batch`` only.

        In: ``gold`` passage ids of each question. The served ranking is the candidates by the ranker's score, then all
        other passages by dense score. Equal scores rank by row.
        """
        queries = encode_all(self.encoder, questions)
        wanted = gold_rows(self.index.ids, gold)
        parts = [
            self._ranks(questions[at : at + batch], queries[at : at + batch], wanted[at : at + batch])
            for at in range(0, len(questions), batch)
        ]
        names = ("served", "dense", "bm25")
        confidence = np.concatenate([part[2] for part in parts] or [np.zeros(0, np.float32)])
        return Ranks(
            {name: np.concatenate([part[0][name] for part in parts] or [np.zeros(0, np.int32)]) for name in names},
            {name: [ids for part in parts for ids in part[1][name]] for name in names},
            confidence,
            confidence < self.calibration.threshold,
        )

    def _ranks(
        self, questions: Sequence[str], queries: np.ndarray, gold: Sequence[np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, list[list[str]]], np.ndarray]:
        found = self.search(questions, queries)
        order = np.argsort(-found.scores, axis=1, kind="stable")[:, :5]
        top = {
            "served": np.take_along_axis(found.candidates.rows, order, 1),
            "dense": best(found.dense, 5),
            "bm25": best(found.bm25, 5),
        }
        ranks = {
            "served": served_ranks(found.candidates, found.scores, found.dense, gold),
            "dense": gold_ranks(found.dense, gold),
            "bm25": gold_ranks(found.bm25, gold),
        }
        ids = {name: [[self.index.ids[row] for row in rows] for rows in table] for name, table in top.items()}
        return ranks, ids, found.confidence

    def reindex(self, passages: "pd.DataFrame", workers: int | None = None) -> "Retriever":
        """Same encoder and ranker over other passages or texts, such as those of `withhold`.

        Texts whose vectors the bundle carries are not encoded again. The result has no sentences (its answers are
        summary lines) and reads no feature server: it is for measuring.
        """
        known = self._known.lookup(self.index.columns["text"], self.index.vectors)
        index = Index.build(passages, encode_all(self.encoder, passages["text"].tolist(), known, workers))
        answers = Answers.none(len(index), self.encoder.dim)
        snapshot = with_new_passages(self._snapshot, passages)
        return Retriever(
            self.bundle, self.encoder, index, answers, snapshot, (self.ranker, self.calibration), self._known
        )

    def _static_scores(self) -> np.ndarray:
        """What the feature store's columns add to each passage, computed anew when they or the day change."""
        columns, day, cached = self.features.columns(), int(time.time() // 86400), self._static
        if cached is None or cached[0] is not columns or cached[1] != day:
            cached = (columns, day, self.ranker.static(passage_features(columns, day)))
            self._static = cached
        return cached[2]


def read_rules(path: Path) -> tuple[Ranker, Calibration]:
    """Ranker and calibration from ranker.json. Errors: `SluiceError` if it is missing or made by other code."""
    try:
        data = json.loads(path.read_text())
        return Ranker.from_json(data["ranker"]), Calibration.from_json(data["calibration"])
    except (OSError, ValueError, KeyError) as error:
        raise SluiceError(f"{path}: not the ranker of this version ({error}); pack the bundle again") from error
