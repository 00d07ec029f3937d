"""Candidates to questions: one gold truth each, no text in two splits, bounded by passage and by category."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

from components.make_qa.candidates import Holders, QuestionCandidate
from components.make_qa.english import normal

COLUMNS = (
    "question_id", "question", "answer", "gold", "path", "category", "withheld", "split", "origin", "persona",
    "asked_at", "places",
)  # fmt: skip


class Chosen(NamedTuple):
    """A candidate that stays, with the indices of every passage that holds its sentence, its own first."""

    candidate: QuestionCandidate
    gold: tuple[int, ...]


def choose(
    candidates: Sequence[QuestionCandidate], holders: Holders, splits: Sequence[str], per_passage: int, max_gold: int,
    limit: int,
) -> tuple[list[Chosen], Counter[str]]:  # fmt: skip
    """Questions that have exactly one truth and lie in exactly one split, and how many fell for which reason.

    Near-copies: a sentence that stands in several passages has all of them as gold (up to ``max_gold``); if these lie
    in more than one split, or if the same question came from different sentences, the question goes.
    """
    dropped: Counter[str] = Counter()
    groups: dict[str, list[QuestionCandidate]] = defaultdict(list)
    for candidate in candidates:
        groups[normal(candidate.asked.question)].append(candidate)
    kept, told = [], set()
    for group in groups.values():
        first = group[0]
        sentence = normal(first.sentence)
        others = set(holders.find(sentence)) | {c.passage for c in group}
        gold = (first.passage, *sorted(others - {first.passage}))
        if len({normal(c.sentence) for c in group}) > 1:
            dropped["ambiguous: different sentences ask the same"] += 1
        elif len(gold) > max_gold:
            dropped["ambiguous: sentence in too many passages"] += 1
        elif len({splits[i] for i in gold}) > 1:
            dropped["leak: sentence in more than one split"] += 1
        elif sentence in told:
            dropped["same sentence asked for elsewhere"] += 1
        else:
            told.add(sentence)
            kept.append(Chosen(first, gold))
    kept = _per_passage(kept, per_passage, dropped)
    return _balance(kept, limit, dropped), dropped


def _per_passage(kept: list[Chosen], limit: int, dropped: Counter[str]) -> list[Chosen]:
    """The best ranked of each passage; rare categories before parameters, of which a long list has dozens."""
    byplace: dict[int, list[Chosen]] = defaultdict(list)
    for one in kept:
        byplace[one.candidate.passage].append(one)
    rare = {"why": 0, "changed": 0}
    out = []
    for passage in sorted(byplace):
        ranked = sorted(byplace[passage], key=lambda c: (rare.get(c.candidate.asked.category, 1), c.candidate.rank))
        out += ranked[:limit]
        dropped["over the number per passage"] += max(0, len(ranked) - limit)
    return out


def _balance(kept: list[Chosen], limit: int, dropped: Counter[str]) -> list[Chosen]:
    """At most ``limit``: the smallest categories stay whole, the larger share what is left (by a stable hash)."""
    bycategory: dict[str, list[Chosen]] = defaultdict(list)
    for one in sorted(kept, key=lambda c: identity("order", c.candidate.asked.question, c.candidate.sentence)):
        bycategory[one.candidate.asked.category].append(one)
    room, out = limit, []
    ordered = sorted(bycategory.values(), key=len)
    for number, group in enumerate(ordered):
        take = min(len(group), room // (len(ordered) - number))
        out += group[:take]
        room -= take
    dropped["over the number in all"] += len(kept) - len(out)
    return sorted(out, key=lambda c: (c.candidate.passage, c.candidate.rank))


def identity(*parts: str) -> str:
    """16 hex digits that stay the same wherever the same row is made."""
    return hashlib.sha256("\0".join(parts).encode(errors="replace")).hexdigest()[:16]


def row(
    question: str, answer: str, gold: list[str], path: str, category: str, split: str, origin: str, asked_at: Any,
    withheld: str = "", persona: str = "", places: Sequence[str] = (),
) -> tuple[Any, ...]:  # fmt: skip
    """One row of questions.parquet, in the order of ``COLUMNS``; its id comes of origin, question and gold.

    ``places``: the files that answer it beside ``path``, if it is the persona set's.
    """
    name = identity(origin, question, *gold)
    return (name, question, answer, gold, path, category, withheld, split, origin, persona, asked_at, list(places))
