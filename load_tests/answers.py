"""Is an answer one, and is it right? Marked as the request comes back, so quick and without a model's libraries."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]

TOP = 5
MOST_WRONG_WORDS = 0.5
LEAST_F1 = 0.2
UNITS = {"transcription": "audio_s_per_s", "highlights": "sentences_per_s"}
"""What a request's ``units`` count, by task: seconds of audio, sentences. Tasks that are not here count requests."""


def is_correct(task: str, prediction: Row, expect: Row | None) -> bool | None:
    """Does ``prediction`` (one of a v1 answer) say what the label says? None without a label or for an unknown task.

    retrieval: one of ``expect["paths"]`` is among the first 5 sources. transcription: at most half of the words of
    ``expect["text"]`` are wrong. highlights: the bullets share enough words with ``expect["bullets"]``, F1 0.2 or more.
    """
    field, mark = _MARKS.get(task, ("", None))
    return None if mark is None or not expect or not expect.get(field) else mark(prediction, expect[field])


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


def words(text: str) -> list[str]:
    """Lower-case words without punctuation."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)?", text.lower())


def _paths(prediction: Row, paths: Any) -> bool:
    found = {source.get("path") for source in prediction.get("sources", [])[:TOP]}
    return not found.isdisjoint(paths)


def _text(prediction: Row, text: Any) -> bool:
    return word_errors(str(prediction.get("text", "")), str(text)) <= MOST_WRONG_WORDS


def _bullets(prediction: Row, bullets: Any) -> bool:
    chosen: Sequence[Any] = prediction.get("bullets") or []
    said = " ".join(str(b.get("text", "")) if isinstance(b, dict) else str(b) for b in chosen)
    return shared_words(said, " ".join(map(str, bullets))) >= LEAST_F1


_MARKS: dict[str, tuple[str, Callable[[Row, Any], bool] | None]] = {
    "retrieval": ("paths", _paths),
    "transcription": ("text", _text),
    "highlights": ("bullets", _bullets),
}
