"""The suites of passages, segments of lectures, and questions, and the columns that they judge."""

import re
from typing import TYPE_CHECKING

from components.common.prose import squeeze
from components.validate.suites import SPLITS, UNDAMAGED, Rule, among, between, damage, normal

if TYPE_CHECKING:
    import pandas as pd

    from components.tasks.retrieval.data import Settings

KINDS = ("function", "class", "method", "section", "commit", "issue", "segment")
CATEGORIES = ("what", "why", "how", "parameters", "changed")
_WORD = re.compile(r"\w+")
_ENGLISH = re.compile(
    r"\b(?:a|an|and|are|as|at|by|can|do|does|for|from|how|i|if|in|is|it|my|not|of|on|or|should|the|there|this|to|we|what|"
    r"when|where|which|why|with|you)\b",
    re.IGNORECASE,
)
_SUSPECT = re.compile(r"[^\x00-\x7f]")


def letters(text: str) -> float:
    """Share of ASCII letters among all letters; 0 without any letter."""
    found = [c.isascii() for c in text if c.isalpha()] if _SUSPECT.search(text) else None
    if found is None:
        return float(any(map(str.isalpha, text)))
    return sum(found) / len(found) if found else 0.0


def english(text: str) -> bool:
    """Does a text hold at least one of the commonest English words? Enough to tell a question from another language."""
    return _ENGLISH.search(text) is not None


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


def passage_rules(settings: "Settings") -> list[Rule]:
    """The suite ``passages``, on the columns of `passage_columns`."""
    window, share = settings.max_tokens, settings.passage_letters
    return [
        between("id", "id_repeats", "every id once", "id already used by an earlier passage", None, 0),
        between("emptiness", "words", "at least 3 words after normalisation", "empty or nearly empty", 3, None),
        between("length", "tokens", f"1 to {window} wordpieces", f"over the window of {window} wordpieces", 1, window),
        between("duplicates", "text_repeats", "every text once", "same text as an earlier passage", None, 0),
        between("language", "letters", f"{share:.0%} ASCII letters or more", "not English or code", share, None),
        UNDAMAGED,
        among("kind", "kind", "a known kind", "unknown kind", KINDS),
        among("split", "split", "a known split", "unknown split", SPLITS),
        among("path", "has_path", "a path", "no path", (True,)),
    ]


def question_rules(settings: "Settings") -> list[Rule]:
    """The suite ``questions``, on the columns of `question_columns`."""
    (least, most), share = settings.question_words, settings.question_letters
    return [
        between("id", "id_repeats", "every id once", "id already used by an earlier question", None, 0),
        between(
            "length", "words", f"{least} to {most} words after normalisation", "too short or too long", least, most
        ),
        between("duplicates", "question_repeats", "every question once", "same as an earlier question", None, 0),
        between("leak", "splits", "a question in one split only", "stands in more than one split", 1, 1),
        among("gold", "gold_found", "its passage exists", "no clean passage answers it", (True,)),
        among("answer", "answer_found", "the answer stands in its passage", "answer not in its passage", (True,)),
        between("language", "letters", f"{share:.0%} ASCII letters or more", "not English", share, None),
        among("english", "english", "a common English word", "no common English word", (True,)),
        UNDAMAGED,
        among("category", "category", "a known category", "unknown category", CATEGORIES),
        among("split", "split", "a known split", "unknown split", (*SPLITS, "persona", "calibration")),
    ]


def balance_rules(settings: "Settings") -> list[Rule]:
    """The suite ``balance``, on the rows of `balance`."""
    most, least = settings.max_category_share, settings.min_categories
    return [
        between(
            "balance",
            "share",
            f"no category above {most:.0%}",
            f"questions have a category above {most:.0%}",
            None,
            most,
        ),
        Rule(
            "variety",
            f"at least {least} categories",
            "too few categories",
            "ExpectTableRowCountToBeBetween",
            {"min_value": least, "max_value": None},
        ),
    ]


def segment_rules(settings: "Settings") -> list[Rule]:
    """The suite ``segments``, on the columns of `segment_columns`."""
    slow, fast = settings.speech_rate
    return [
        between("begin", "start_s", "begins at 0 s or later", "begins before its recording", 0, None),
        between("length", "seconds", "ends after it begins", "ends before it begins", 0.01, None),
        between("end", "over_s", "ends with its recording", "ends after its recording", None, 1.0),
        between("order", "overlap_s", "after the segment before it", "overlaps the segment before it", None, 0.5),
        between(
            "rate", "speech_rate", f"{slow:g} to {fast:g} words a minute", "nobody speaks at this rate", slow, fast
        ),
        between("confidence", "confidence", "0 to 1", "confidence is no share", 0, 1),
        between("silence", "silence_share", "0 to 1", "silence is no share", 0, 1),
    ]
