"""Passages to candidate questions: every rule on every sentence, with the passages that hold the same sentence."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from components.common.prose import sentences, squeeze, words
from components.make_qa.changes import ask_commit, ask_issue
from components.make_qa.docs import Doc, parse
from components.make_qa.english import normal
from components.make_qa.parameters import ask_parameter
from components.make_qa.rules import Asked, SymbolPlace, ask, ask_returned, ask_why

if TYPE_CHECKING:
    import pandas as pd

_COMMENT = re.compile(r"^\s*#+ (.*)$", re.MULTILINE)
_PROSE_SENTENCES = 8  # of a docstring: what follows is detail that makes poor questions


class QuestionCandidate(NamedTuple):
    """A question, the sentence it came from, the index of its passage, and how early its rule ranks it (0 first)."""

    asked: Asked
    sentence: str
    passage: int
    rank: int


class PassageRow(NamedTuple):
    """The columns of a passage that rules read."""

    path: str
    name: str
    kind: str
    signature: str
    doc: str
    body: str
    summary: str


def rows_of(passages: "pd.DataFrame") -> list[PassageRow]:
    """The passages as tuples, in order."""
    return [PassageRow(*values) for values in passages[list(PassageRow._fields)].itertuples(index=False, name=None)]


def surroundings(row: PassageRow) -> str:
    """How a person would name where a symbol lives: its class in words, or its module."""
    if row.kind == "section":
        return ""
    if "." in row.name:
        return f"the {words(row.name.split('.', 1)[0])}"
    if row.kind == "class" and len(words(row.name).split()) > 1:
        return f"the {words(row.name)}"
    path = PurePosixPath(row.path)
    stem = path.stem if path.stem not in ("__init__", "utils", "base") else f"{path.parent.name} {path.stem}"
    return f"the {words(stem.replace('__init__', ''))} module"


class Holders:
    """Finds the passages that hold a sentence, word for word, wherever in their text: copies answer a question too."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = [f" {normal(text)} " for text in texts]
        self._with: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(self._texts):
            for word in set(text.split()):
                self._with[word].append(index)

    def find(self, sentence: str) -> list[int]:
        """Indices of the passages, in order; the sentence's rarest word narrows the search."""
        wanted = normal(sentence)
        rarest: list[int] = min((self._with.get(word, []) for word in wanted.split()), key=len, default=[])
        return [index for index in rarest if f" {wanted} " in self._texts[index]]


def comments(body: str) -> list[str]:
    """Sentences of the comments in code, one line each: an answer must stand in the passage word for word."""
    return [s for line in _COMMENT.findall(body) for s in sentences(squeeze(line)) if s.count(" ") > 4]


def candidates(rows: list[PassageRow], docs: list[Doc]) -> Iterator[QuestionCandidate]:
    """All questions that the rules find, passage by passage."""
    for index, (row, doc) in enumerate(zip(rows, docs, strict=True)):
        if row.kind in ("commit", "issue"):
            made = ask_commit(row.signature, row.doc) if row.kind == "commit" else ask_issue(row.doc)
            if made is not None:
                yield QuestionCandidate(made[0], made[1], index, 0)
            continue
        place = SymbolPlace(row.kind, surroundings(row), row.name)
        for number, sentence in enumerate(doc.sentences[:_PROSE_SENTENCES]):
            first = number == 0 and sentence == row.summary
            asked = ask(sentence, place, first)
            if asked is not None:
                yield QuestionCandidate(asked, sentence, index, 0 if first else 2 + number)
        if doc.returned and (sentence := sentences(doc.returned)[0]) and (asked := ask_returned(sentence, place)):
            yield QuestionCandidate(asked, sentence, index, 2)
        for comment in comments(row.body):
            if asked := ask_why(comment, place):
                yield QuestionCandidate(asked, comment, index, 3)
        for number, entry in enumerate(doc.entries):
            parameter = ask_parameter(entry, place)
            if parameter is not None:
                yield QuestionCandidate(parameter[0], parameter[1], index, 1 + 2 * number)


def read_docs(rows: list[PassageRow]) -> list[Doc]:
    """Every passage's documentation, parsed; the subject of a commit or issue counts as its sentence."""
    return [
        Doc([row.doc.split("\n", 1)[0].strip()], []) if row.kind in ("commit", "issue") else parse(row.doc)
        for row in rows
    ]
