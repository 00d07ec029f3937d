"""Word and character errors of transcripts, as Whisper's authors count them: normalised first, summed over a corpus."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from serving.core.scripts import UNSPACED

Normaliser = Callable[[str], str]


class Edits(NamedTuple):
    """Words (or characters) of the reference and what the hypothesis did to them."""

    words: int
    substitutions: int
    deletions: int
    insertions: int

    @property
    def total(self) -> int:
        """All errors."""
        return self.substitutions + self.deletions + self.insertions


@lru_cache(maxsize=4)
def _normaliser(language: str) -> Normaliser:
    """Whisper's own: English, or the basic one for any other language (Radford et al. 2022, appendix C)."""
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    if language != "en":
        basic = BasicTextNormalizer(split_letters=unit_of(language) == "character")
        basic.clean = _without_symbols
        return basic  # type: ignore[no-any-return, unused-ignore]
    # British to American spelling: the list comes with openai-whisper, read as a file because its import loads torch.
    found = find_spec("whisper")
    assert found is not None and found.origin is not None, "openai-whisper is one of our dependencies"
    spelling = json.loads((Path(found.origin).parent / "normalizers" / "english.json").read_text(encoding="utf-8"))
    return EnglishTextNormalizer(spelling)  # type: ignore[no-any-return, unused-ignore]


def _without_symbols(text: str) -> str:
    """As Whisper's, but for marks: it parts Hindi words and takes Thai vowels away at each of them."""
    return "".join(" " if unicodedata.category(c)[0] in "SP" else c for c in unicodedata.normalize("NFKC", text))


def unit_of(language: str) -> str:
    """What an error rate counts: "character" where words have no blanks between them (zh, ja, th, ...), else "word".

    Whisper's authors do so, too. Figures are named after it: ``cer_test`` and no ``wer_test``.
    """
    return "character" if re.split("[-_]", language.lower())[0] in UNSPACED else "word"


def normalise(text: str, language: str = "en") -> str:
    """A transcript as it is compared: lower case, no punctuation, no fillers; English: numbers as digits, one spelling.

    In: any text; ``language`` as Whisper's code ("en", "de", ...). Out: words (where there are no blanks: characters,
    see `unit_of`) joined by single spaces, perhaps "".
    English joins digits that are spoken one by one into one number ("one two" -> "12"): measure strings of digits with
    language "basic", which leaves numbers as they are.
    """
    return " ".join(_normaliser(language)(text).split())


def errors(reference: str, hypothesis: str, language: str = "en") -> tuple[int, int]:
    """(edits, words of the reference) of one pair, both normalised; the fewest that lead from one to the other."""
    found = edits(reference, hypothesis, language)
    return found.total, found.words


def edits(reference: str, hypothesis: str, language: str = "en", characters: bool = False) -> Edits:
    """Substitutions, deletions and insertions of one normalised pair, over words or, where asked, characters.

    A reference that is empty after normalising counts no words, and every word said for it as an insertion.
    """
    import jiwer

    one, two = normalise(reference, language), normalise(hypothesis, language)
    characters = characters and unit_of(language) == "word"  # else the words are characters already
    size = len(one) if characters else len(one.split())
    if not one:
        return Edits(0, 0, 0, len(two) if characters else len(two.split()))
    found = (jiwer.process_characters if characters else jiwer.process_words)(one, two)
    return Edits(size, found.substitutions, found.deletions, found.insertions)


def wer(references: Sequence[str], hypotheses: Sequence[str], language: str = "en") -> float:
    """Word error rate of a corpus: all edits over all reference words (not the mean of the utterances' rates).

    In: equally many texts. Out: 0 or more; above 1 where more is said than was to be said; NaN without a single word.
    By characters where words have no blanks between them (see `unit_of`).
    """
    return _rate([edits(a, b, language) for a, b in zip(references, hypotheses, strict=True)])


def cer(references: Sequence[str], hypotheses: Sequence[str], language: str = "en") -> float:
    """Character error rate of a corpus, as `wer`; spaces between words count as characters."""
    return _rate([edits(a, b, language, characters=True) for a, b in zip(references, hypotheses, strict=True)])


def _rate(found: Sequence[Edits]) -> float:
    words = sum(e.words for e in found)
    return sum(e.total for e in found) / words if words else float("nan")
