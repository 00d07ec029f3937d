"""Columns that the suites judge, derived from the tables: sizes, repeats, language, damage, gold."""

import re
from typing import TYPE_CHECKING

from components.common.prose import squeeze

if TYPE_CHECKING:
    import pandas as pd

_WORD = re.compile(r"\w+")
_ENGLISH = re.compile(
    r"\b(?:a|an|and|are|as|at|by|can|do|does|for|from|how|i|if|in|is|it|my|not|of|on|or|should|the|there|this|to|we|what|"
    r"when|where|which|why|with|you)\b",
    re.IGNORECASE,
)
_SUSPECT = re.compile(r"[^\x00-\x7f]")


def normal(text: str) -> str:
    """Lower-case words, one blank between: what is left when white space, case and punctuation do not count."""
    return " ".join(_WORD.findall(text.lower()))


def letters(text: str) -> float:
    """Share of ASCII letters among all letters; 0 without any letter."""
    found = [c.isascii() for c in text if c.isalpha()] if _SUSPECT.search(text) else None
    if found is None:
        return float(any(map(str.isalpha, text)))
    return sum(found) / len(found) if found else 0.0


def english(text: str) -> bool:
    """Does a text hold at least one of the commonest English words? Enough to tell a question from another language."""
    return _ENGLISH.search(text) is not None


def damage(text: str) -> int:
    """Signs of broken encoding: 100 a replacement character, plus ftfy's badness score (0 = none)."""
    if _SUSPECT.search(text) is None:
        return 0
    from ftfy.badness import badness

    return 100 * text.count("\ufffd") + int(badness(text))


def passage_columns(passages: "pd.DataFrame") -> "pd.DataFrame":
    """One row a passage: row_id and what its suite looks at; repeats count earlier rows with the same text.

    Two lectures may read one text aloud: a segment repeats another of its own lecture only.
    """
    import pandas as pd

    text = passages["text"].fillna("").astype(str)
    place = passages["path"].fillna("").astype(str).where(passages["kind"] == "segment", "")
    return pd.DataFrame(
        {
            "row_id": passages["passage_id"].astype(str),
            "id_repeats": passages.groupby("passage_id", dropna=False).cumcount(),
            "words": [len(_WORD.findall(t)) for t in text],
            "tokens": passages["n_tokens"].fillna(0),
            "text_repeats": text.groupby([place, text.map(squeeze)]).cumcount(),
            "letters": text.map(letters),
            "damage": text.map(damage),
            "kind": passages["kind"].fillna(""),
            "split": passages["split"].fillna(""),
            "has_path": passages["path"].fillna("").astype(str).str.strip() != "",
        }
    )


def segment_columns(passages: "pd.DataFrame") -> "pd.DataFrame":
    """One row a segment of a lecture, in the passages' order: row_id and what the suite ``segments`` looks at."""
    import pandas as pd

    before = passages.sort_values("start_s", kind="stable").groupby("path")["end_s"].shift(1)
    return pd.DataFrame(
        {
            "row_id": passages["passage_id"].astype(str),
            "start_s": passages["start_s"],
            "seconds": passages["end_s"] - passages["start_s"],
            "over_s": passages["end_s"] - passages["lecture_duration_s"],
            "overlap_s": (before - passages["start_s"]).fillna(0.0),
            **{name: passages[name].astype("float64") for name in ("speech_rate", "confidence", "silence_share")},
        }
    )


def question_columns(questions: "pd.DataFrame", passages: "pd.DataFrame") -> "pd.DataFrame":
    """One row a question: row_id and what the suite ``questions`` looks at; ``passages`` are the clean ones."""
    import pandas as pd

    texts = {i: squeeze(t) for i, t in zip(passages["passage_id"], passages["text"], strict=True)}
    question = questions["question"].fillna("").astype(str)
    same = question.map(normal)
    answers = questions["answer"].fillna("").astype(str).map(squeeze)
    found = [[g for g in gold if g in texts] for gold in questions["gold"]]
    # The persona set is written by hand: it may ask in key words, and asks on purpose what nothing answers.
    persona = [origin == "persona" for origin in questions["origin"]]
    nowhere = [by_hand and not len(gold) for by_hand, gold in zip(persona, questions["gold"], strict=True)]
    return pd.DataFrame(
        {
            "row_id": questions["question_id"].astype(str),
            "id_repeats": questions.groupby("question_id", dropna=False).cumcount(),
            "words": [len(text.split()) for text in same],
            "question_repeats": question.groupby([same, questions["origin"]]).cumcount(),
            "splits": questions["split"].groupby(same).transform("nunique"),
            "gold_found": [bool(f) or n for f, n in zip(found, nowhere, strict=True)],
            "answer_found": [
                n or (bool(a) and any(a in texts[g] for g in f))
                for a, f, n in zip(answers, found, nowhere, strict=True)
            ],
            "letters": question.map(letters),
            "english": [by_hand or english(text) for by_hand, text in zip(persona, question, strict=True)],
            "damage": question.map(damage) + answers.map(damage),
            "category": questions["category"].fillna(""),
            "split": questions["split"].fillna(""),
        }
    )


def balance(questions: "pd.DataFrame") -> "pd.DataFrame":
    """One row a category of the rule-made questions: row_id (its name), count and share."""
    import pandas as pd

    counts = questions.loc[questions["origin"] == "rule", "category"].value_counts().sort_index()
    share = counts / max(int(counts.sum()), 1)
    return pd.DataFrame({"row_id": counts.index.astype(str), "count": counts.to_numpy(), "share": share.to_numpy()})
