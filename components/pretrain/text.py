"""What the voices read: sentences of a grammar, strings of words and of digits, and never a line of a lecture."""

import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from serving.contract.errors import SluiceError

HERE = Path(__file__).parent
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LONGEST = 14
"""Words in a sentence: more do not fit into six seconds."""
FORBIDDEN_RUN = 5
DEEPEST = 9
SOUND_ALIKE = frozenset(
    (
        "to",
        "too",
        "for",
        "their",
        "there",
        "right",
        "write",
        "hear",
        "here",
        "knew",
        "new",
        "know",
        "no",
        "would",
        "wood",
    )
    + ("see", "sea", "through", "whole")
)
"""Words that only their sentence tells apart; in a row of random words they would be noise."""


@cache
def lectures() -> tuple[dict[str, Any], ...]:
    """Our own lectures, as `lectures.yaml` has them: id, title, sentences, bullets, questions."""
    return tuple(yaml.safe_load((HERE / "lectures.yaml").read_text(encoding="utf-8")))


def plain(text: str) -> str:
    """Lower-case words with single spaces: what the model writes, and what WER compares."""
    return " ".join(re.findall(r"[a-z]+", text.lower()))


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word nano knows, sorted: the words of the lectures and the ten digits."""
    words = {word for lecture in lectures() for line in lecture["sentences"] for word in plain(line).split()}
    return tuple(sorted(words | set(DIGITS)))


@cache
def _forbidden() -> tuple[frozenset[str], frozenset[tuple[str, ...]]]:
    """The sentences of the lectures, and every run of five words in them (across full stops too)."""
    lines, runs = set(), set()
    for lecture in lectures():
        lines |= {plain(line) for line in lecture["sentences"]}
        words = plain(" ".join(lecture["sentences"])).split()
        runs |= {tuple(words[i : i + FORBIDDEN_RUN]) for i in range(len(words) - FORBIDDEN_RUN + 1)}
    return frozenset(lines), frozenset(runs)


def resembles_lecture(text: str) -> bool:
    """Is ``text`` (plain words) a sentence of a lecture, or does it share five words in a row with one?"""
    lines, runs = _forbidden()
    words = text.split()
    return text in lines or any(
        tuple(words[i : i + FORBIDDEN_RUN]) in runs for i in range(len(words) - FORBIDDEN_RUN + 1)
    )


@cache
def _grammar() -> dict[str, list[list[str]]]:
    """Rules of `grammar.yaml`, each a list of alternatives (lists of words and rule names), weights written out."""
    rules: dict[str, list[list[str]]] = {}
    for name, line in yaml.safe_load((HERE / "grammar.yaml").read_text(encoding="utf-8")).items():
        rules[name] = []
        for part in line.split("|"):
            times, parts = re.match(r"\s*(?:(\d+)x )?(.*)", part).groups()  # type: ignore[union-attr]
            rules[name] += [parts.split()] * int(times or 1)
    return rules


def _expand(symbol: str, rng: random.Random, depth: int = 0) -> list[str]:
    """Words of one rule; a word that is no rule stands for itself. Too deep a nesting gives a word nano lacks."""
    rules = _grammar()
    if symbol not in rules:
        return [symbol]
    if depth > DEEPEST:
        return ["?"]
    return [word for part in rng.choice(rules[symbol]) for word in _expand(part, rng, depth + 1)]


def _sentence(rng: random.Random) -> str:
    return " ".join(_expand("S", rng))


def _row(rng: random.Random, longest: int) -> str:
    known = [word for word in vocabulary() if word not in SOUND_ALIKE]
    return " ".join(rng.choice(known) for _ in range(rng.randint(1, longest)))


def _digits(rng: random.Random, longest: int = 5) -> str:
    return " ".join(rng.choice(DIGITS) for _ in range(rng.randint(1, longest)))


def sentences(count: int, seed: int, shortest: int = 1, longest: int = LONGEST) -> list[str]:
    """``count`` different lines of plain words, reproducible from ``seed``, none of which resembles a lecture.

    About 65 in 100 come from the grammar, 27 are random words (so that ears count more than habits), 8 are digits.
    Raises `SluiceError` when the grammar cannot give that many lines of ``shortest`` to ``longest`` words.
    """
    rng, known = random.Random(seed), frozenset(vocabulary())
    found: dict[str, None] = {}
    for _ in range(60 * count + 1000):
        kind = rng.random()
        line = _sentence(rng) if kind < 0.65 else _row(rng, min(longest, 9)) if kind < 0.92 else _digits(rng)
        words = line.split()
        if shortest <= len(words) <= longest and known.issuperset(words) and not resembles_lecture(line):
            found[line] = None
        if len(found) == count:
            return list(found)
    raise SluiceError(
        f"grammar.yaml: no {count} different lines of {shortest} to {longest} words; ask for fewer, or widen it"
    )
