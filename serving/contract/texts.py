"""How far two texts are apart, told quickly and without a library."""

import re
from collections import Counter


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


def word_errors(text: str, reference: str) -> float:
    """Edits from ``reference`` to ``text`` over words (lower case, no punctuation), per word of the reference.

    Levenshtein distance (1966), insertions, deletions and substitutions at one each; an empty reference counts as one
    word.
    """
    said, wanted = words(text), words(reference)
    row = list(range(len(said) + 1))
    for at, word in enumerate(wanted, 1):
        corner, row[0] = row[0], at
        for column, other in enumerate(said, 1):
            corner, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, corner + (word != other))
    return row[-1] / max(1, len(wanted))


def shared_words(text: str, reference: str) -> float:
    """F1 over the words of two texts, each counted as often as it occurs (ROUGE-1 without a stemmer)."""
    said, wanted = Counter(words(text)), Counter(words(reference))
    both = sum((said & wanted).values())
    return 2 * both / (sum(said.values()) + sum(wanted.values())) if both else 0.0
