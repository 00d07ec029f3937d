"""Validation questions with their candidates and every feature, as known on the day of asking."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from serving.core.features import from_snapshot
from serving.retrieval import PASSAGES
from serving.retrieval.index import Index
from serving.retrieval.ranker import PASSAGE_FEATURES, Candidates, candidates, passage_features
from serving.retrieval.ranking import gold_rows

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 64


@dataclass(frozen=True)
class Examples:
    """Questions with their candidates: ``found``, all features float32 [q, c, 16], ``gold`` bool [q, c].

    ``coverage`` float32 [q, c]: the share of the question's words that a candidate holds (see `Bm25.coverage`);
    ``answerable`` bool [q]: the source has an answer.
    """

    found: Candidates
    features: np.ndarray
    gold: np.ndarray
    coverage: np.ndarray
    answerable: np.ndarray

    def part(self, chosen: np.ndarray) -> "Examples":
        """The questions where ``chosen`` (bool [q]) is true."""
        found = Candidates(*(table[chosen] for table in self.found))
        rest = (getattr(self, name)[chosen] for name in ("features", "gold", "coverage", "answerable"))
        return Examples(found, *rest)


def collect(index: Index, asked: "pd.DataFrame", queries: np.ndarray, frame: "pd.DataFrame") -> Examples:
    """Candidates of the questions ``asked``, whose vectors are ``queries`` float32 [q, dim], from ``index``.

    ``frame``: features of every passage as of each day of asking (see components/featurize).
    """
    texts = asked["question"].tolist()
    found = []
    for at in range(0, len(texts), _BATCH):
        part = slice(at, at + _BATCH)
        found.append(candidates(index.dense(queries[part]), index.bm25.scores(texts[part])))
    joined = Candidates(*(np.concatenate(tables) for tables in zip(*found, strict=True)))
    static = np.empty((*joined.rows.shape, len(PASSAGE_FEATURES)), np.float32)
    days = days_of(frame, asked["asked_at"])
    for day in np.unique(days):
        columns = from_snapshot(PASSAGES, index.ids, frame[_stamps(frame["event_timestamp"]) == day])
        features = passage_features(columns, int(day.astype("datetime64[D]").astype(np.int64)))
        static[days == day] = features[joined.rows[days == day]]
    gold = gold_rows(index.ids, [list(ids) for ids in asked["gold"]])
    answerable = np.asarray([len(ids) > 0 for ids in asked["gold"]], bool)
    right = [np.isin(rows, wanted) for rows, wanted in zip(joined.rows, gold, strict=True)]
    features = np.concatenate([joined.features, static], 2)
    coverage = index.bm25.coverage(texts, joined.rows)
    return Examples(joined, features, np.asarray(right, bool), coverage, answerable)


def first_half(question_ids: Sequence[str]) -> np.ndarray:
    """A stable half of the questions by hash: bool [q]. The ranker is fitted on it, confidence on the other."""
    return np.asarray([hashlib.sha256(name.encode()).digest()[0] % 2 == 0 for name in question_ids], bool)


def days_of(frame: "pd.DataFrame", asked_at: "pd.Series[pd.Timestamp]") -> np.ndarray:
    """The day bucket of ``frame`` that each question joins, datetime64[us] [q]: the first at or after its asking.

    A question later than every bucket joins the last one.
    """
    stamps = np.unique(_stamps(frame["event_timestamp"]))
    place = np.searchsorted(stamps, _stamps(asked_at))
    return np.asarray(stamps[np.minimum(place, len(stamps) - 1)])


def _stamps(times: "pd.Series[pd.Timestamp]") -> np.ndarray:
    return np.asarray(times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]"))
