"""Votes of users as labelled questions for the next training."""

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from components.make_qa.candidates import PassageRow

if TYPE_CHECKING:
    import pandas as pd


def read_votes() -> "pd.DataFrame | None":
    """All labelled votes, or None where no feedback database exists yet."""
    from serving.feedback import feedback_url, labelled
    from serving.feedback.tables import feedback_file

    file = feedback_file(url := feedback_url())
    return labelled("retrieval", url) if file is None or file.is_file() else None


def gold_of(vote: Any, ids: dict[str, int], names: dict[str, list[int]]) -> list[int]:
    """Indices of the passages that a vote calls right: those its correction names, else the first source of an up vote.

    ``names``: passage indices by path, by ``path::name`` and by qualified name.
    """
    correction = str(vote.correction or "")
    named = [t.strip(".,;:") for t in re.split(r"[\s`'\"()<>]+", correction)]
    for token in sorted(set(named), key=len, reverse=True):
        if token and (found := names.get(token)):
            return found
    sources = list(vote.item_ids)
    if vote.vote == "up" and not correction.strip() and sources and sources[0] in ids:
        return [ids[sources[0]]]
    return []


def names_of(rows: list[PassageRow], max_passages: int = 64) -> dict[str, list[int]]:
    """Passage indices by what a correction may name; a name that stands for very many passages says nothing."""
    by_name: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for key in (row.path, f"{row.path}::{row.name}", row.name):
            by_name.setdefault(key, []).append(index)
    return {key: indices for key, indices in by_name.items() if len(indices) <= max_passages}


def tell(dropped: Counter[str]) -> str:
    """What was dropped, for the log."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()) if count) or "nothing"
