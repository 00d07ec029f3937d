"""Tokens as text and words, and texts as prompts and hints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.contract.bundle import SpeechSpec
from serving.contract.errors import SluiceError
from serving.core.scripts import UNSPACED
from serving.transcription.spec import token_ids

Group = tuple[int, int]


class Vocabulary:
    """A Whisper model's ``tokenizer.json`` beside its spec."""

    def __init__(self, tokenizer: Path, speech: SpeechSpec) -> None:
        """Errors: `SluiceError` if the file is missing or broken."""
        from tokenizers import Tokenizer

        self.speech = speech
        ids = token_ids(tokenizer)
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(tokenizer))
        except Exception as error:
            raise SluiceError(f"{tokenizer}: cannot be read ({error}); pack the bundle again") from error
        self.languages = {code: ids[f"<|{code}|>"] for code in speech.languages if f"<|{code}|>" in ids}
        self.special = {at for name, at in ids.items() if name.startswith("<|") or name == "<unk>"}
        # Tokens of times that the model has and its tokenizer does not name.
        self.special |= set(range(self._tokenizer.get_vocab_size(), speech.vocab))
        # One token a word where the model was built so: the decoder then joins them with spaces.
        self._whole_words = type(self._tokenizer.model).__name__ == "WordLevel"

    def prefix(self, language: str) -> list[int]:
        """What a window's tokens begin with: start, language and task where the model takes them, no timestamps."""
        tokens = self.speech.tokens
        found = [tokens.sot]
        if self.languages:
            found.append(self.languages[language])
            found += [] if tokens.transcribe is None else [tokens.transcribe]
        if tokens.timestamp_begin is None and tokens.no_timestamps is not None:
            found.append(tokens.no_timestamps)
        return found

    def prompt(self, text: str, words: Sequence[str]) -> list[int]:
        """Tokens before the prefix that stand for what was said before; at most half of what the decoder can hold."""
        said = " ".join([part for part in (", ".join(words), text.strip()) if part])
        ids = self.ids(f" {said}") if said else []
        if self.speech.tokens.sot_prev is None or not ids:
            return []
        return [self.speech.tokens.sot_prev, *ids[-(self.speech.max_tokens // 2 - 1) :]]

    def ids(self, text: str) -> list[int]:
        """Plain tokens of a text, without those that the model does not know."""
        return [at for at in self._tokenizer.encode(text, add_special_tokens=False).ids if at not in self.special]

    def hints(self, words: Sequence[str]) -> list[list[int]]:
        """Token sequences of words as they may come out: with a space before, and as written or capitalised."""
        forms = {form for word in words for form in (f" {word.strip()}", f" {word.strip().capitalize()}")}
        return [ids for ids in map(self.ids, sorted(forms)) if ids]

    def text(self, tokens: Sequence[int]) -> str:
        """Text of tokens; special ones and timestamps are left out."""
        return str(self._tokenizer.decode(self.plain(tokens), skip_special_tokens=True))

    def plain(self, tokens: Sequence[int]) -> list[int]:
        """Tokens without special ones and timestamps."""
        return [at for at in tokens if at not in self.special]

    def words(self, tokens: Sequence[int], language: str) -> list[tuple[str, Group]]:
        """Plain tokens as words with the range [begin, end) of tokens that each is made of.

        A word begins with a space; where a language has none, with every whole character.
        """
        if self._whole_words:
            return [(self.text([token]), (at, at + 1)) for at, token in enumerate(tokens)]
        found: list[tuple[str, Group]] = []
        begin = 0
        for end in range(1, len(tokens) + 1):
            text = self.text(tokens[begin:end])
            if "\ufffd" in text and end < len(tokens):
                continue  # a character's last bytes are still to come
            if found and not (text.startswith(" ") or (language in UNSPACED and text.strip(" .,!?。、？！"))):
                said, group = found[-1]
                found[-1] = (said + text, (group[0], end))
            else:
                found.append((text, (begin, end)))
            begin = end
        return [(text.strip(), group) for text, group in found]
