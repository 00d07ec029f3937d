"""Why the first answer was wrong: every miss gets the first reason that the data supports."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd

from components.tasks.retrieval.evaluating.measure import NOWHERE

LONG = 0.9
COPY = 0.6
MODES = {
    "right symbol, other part": "the wanted symbol is long and was cut into passages; another part of it comes first",
    "right file, other symbol": "the first passage stands in the same file as the wanted one",
    "same name, other file": "another file has a symbol of that very name",
    "near copy": f"the texts share {COPY:.0%} of their words or more (Jaccard): code that is copied between files",
    "wanted passage is undocumented": "only a signature and code to match a sentence with",
    "wanted passage is long": f"it fills {LONG:.0%} of the encoder's window or more, so one vector stands for a lot",
    "close call": "the wanted passage is second or third",
    "lost": "none of these, and the wanted passage is below the third place",
}
"""The modes, in the order in which they are tried, and what each means."""


def explain(predictions: pd.DataFrame, passages: pd.DataFrame, questions: pd.DataFrame, window: int) -> pd.DataFrame:
    """Every served answer whose first passage is not a gold one, with the reason.

    In: ``window`` tokens the encoder reads. Out: set, question, wanted, found (``path:name``), rank, confidence, mode.
    """
    answerable = predictions["set"] != NOWHERE
    served = predictions[(predictions["retriever"] == "served") & ~predictions["correct"] & answerable]
    rows = passages.set_index("passage_id")
    asked = questions.set_index("question_id")[["question", "gold"]].to_dict("index")
    misses = []
    for miss in served.to_dict("records"):
        question = asked[miss["question_id"]]
        wanted = rows.loc[next(g for g in question["gold"] if g in rows.index)]
        found = rows.loc[miss["top"][0]]
        misses.append(
            {
                "set": miss["set"],
                "question": question["question"],
                "wanted": f"{wanted['path']}:{wanted['name']}",
                "found": f"{found['path']}:{found['name']}",
                "rank": miss["rank"],
                "confidence": miss["confidence"],
                "mode": _mode(wanted, found, miss["rank"], window),
            }
        )
    return pd.DataFrame(misses, columns=["set", "question", "wanted", "found", "rank", "confidence", "mode"])


def _mode(wanted: pd.Series, found: pd.Series, rank: int, window: int) -> str:
    tests: dict[str, Callable[[], bool]] = {
        "right symbol, other part": lambda: (wanted["path"], wanted["name"]) == (found["path"], found["name"]),
        "right file, other symbol": lambda: wanted["path"] == found["path"],
        "same name, other file": lambda: _last(wanted["name"]) == _last(found["name"]),
        "near copy": lambda: _overlap(wanted["text"], found["text"]) >= COPY,
        "wanted passage is undocumented": lambda: not wanted["documented"],
        "wanted passage is long": lambda: wanted["n_tokens"] >= LONG * window,
        "close call": lambda: rank <= 3,
    }
    return next((name for name, holds in tests.items() if holds()), "lost")


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1].lower()


def _overlap(a: str, b: str) -> float:
    one, two = set(re.findall(r"\w+", a.lower())), set(re.findall(r"\w+", b.lower()))
    return len(one & two) / max(1, len(one | two))


def count_modes(misses: pd.DataFrame) -> list[dict[str, object]]:
    """Modes by frequency: mode, misses, share of all misses, median rank of the wanted passage, what it means."""
    found = misses.groupby("mode")["rank"].agg(["size", "median"]).sort_values("size", ascending=False)
    return [
        {
            "mode": mode,
            "misses": int(row["size"]),
            "share": float(row["size"]) / len(misses),
            "median rank": float(row["median"]),
            "meaning": MODES[str(mode)],
        }
        for mode, row in found.iterrows()
    ]


def by_property(predictions: pd.DataFrame, passages: pd.DataFrame, questions: pd.DataFrame) -> list[dict[str, object]]:
    """Share of test questions missed at rank 1, by the wanted passage's kind, documentation and length."""
    asked = questions[questions["gold"].map(len) > 0]
    gold = asked.assign(passage_id=[ids[0] for ids in asked["gold"]])[["question_id", "passage_id"]]
    served = predictions[(predictions["retriever"] == "served") & (predictions["set"] == "test")]
    table = served.merge(gold, on="question_id").merge(
        passages[["passage_id", "kind", "n_tokens", "documented"]], on="passage_id"
    )
    table["documentation"] = table["documented"].map({True: "documented", False: "undocumented"})
    table["length"] = pd.cut(
        table["n_tokens"], [0, 64, 128, 192, float("inf")], labels=["≤ 64", "65–128", "129–192", "> 192"]
    ).astype(str)
    rows: list[dict[str, object]] = []
    for column, title in (("kind", "kind"), ("documentation", "documentation"), ("length", "tokens")):
        for value, part in table.groupby(column):
            missed = float((~part["correct"]).mean())
            rows.append({"property": title, "wanted passage": value, "questions": len(part), "missed": missed})
    return rows
