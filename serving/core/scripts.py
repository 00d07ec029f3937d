"""What scripts do differently: who puts blanks between words, how a sentence ends, how wide a sign is."""

import re
import unicodedata
from collections.abc import Iterable

UNSPACED = frozenset(["zh", "yue", "ja", "th", "lo", "my", "km", "bo"])
"""Whisper's codes of languages that are written without blanks between words."""
STOPS = ".!?…。．｡！？‼⁇⁈⁉؟۔।॥။።፧։។"
"""Signs that end a sentence: Latin, ideographic, Arabic, Urdu, Indic, Burmese, Ethiopic, Armenian and Khmer."""
ENDS = re.compile(rf"[{re.escape(STOPS)}][\"')\]”’»」』）】》〉]*$")
"""A text that ends a sentence, closing marks included."""
_BARE = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u200b\u2e80-\u303f\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff]"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, Han, kana, bopomofo, and the full-width forms; not Hangul, which has blanks."""
_STOP_OF = (("\u0530", "\u058f", "։"), ("\u0900", "\u0b7f", "।"), ("\u1200", "\u137f", "።"))


def unspaced(sign: str) -> bool:
    """Whether words in the script of ``sign`` (one character, or "") stand without blanks between them."""
    return _BARE.match(sign) is not None


def join(texts: Iterable[str]) -> str:
    """Texts in a row: with a blank between them, but none between two signs of scripts that have none."""
    said = ""
    for text in texts:
        said += (" " if said and text and not (unspaced(said[-1]) and unspaced(text[0])) else "") + text
    return said


def stop_of(text: str) -> str:
    """The full stop that a sentence ending in ``text`` wants; "" in a script without blanks."""
    last = next((sign for sign in reversed(text) if unicodedata.category(sign)[0] in "LMN"), "")
    return "" if unspaced(last) else next((stop for low, high, stop in _STOP_OF if low <= last <= high), ".")


def width(text: str) -> int:
    """Columns of a text: two for a sign that is wide or full-width (Unicode, UAX 11), one for any other, marks too."""
    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in text)


def size(text: str) -> float:
    """About how many words a text is: one for each part between blanks, half one for each sign of a script without."""
    return sum((sum(map(_letter, part)) / 2 if any(map(unspaced, part)) else 1.0) for part in text.split())


def signs(text: str) -> list[str]:
    """The parts of a text between blanks; in a script without blanks every sign with the marks that follow it."""
    found: list[str] = []
    for part in text.split():
        found.append(part[0])
        for before, sign in zip(part, part[1:], strict=False):
            if _letter(sign) and unspaced(before) and unicodedata.category(before) not in ("Ps", "Pi"):
                found.append(sign)
            else:
                found[-1] += sign
    return found


def bigrams(text: str) -> list[str]:
    """Pairs of neighbours in a run of signs without blanks, or the one sign itself: what stands for words."""
    return [text[at : at + 2] for at in range(max(1, len(text) - 1))]


def _letter(sign: str) -> bool:
    return unspaced(sign) and unicodedata.category(sign)[0] in "LN"
