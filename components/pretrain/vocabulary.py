"""Token ids of nano: Whisper's special tokens under Whisper's names, then one id a word."""

from functools import cache
from pathlib import Path

from components.pretrain.text import vocabulary

SPECIAL = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|transcribe|>",
    "<|notimestamps|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<unk>",
)
END, START, ENGLISH, TRANSCRIBE, NO_TIMES, PREVIOUS, NO_SPEECH, UNKNOWN = range(len(SPECIAL))
PREFIX = [START, ENGLISH, TRANSCRIBE, NO_TIMES]
"""What every window begins with: English, transcription, no time tokens."""
IGNORED = -100


@cache
def _ids() -> dict[str, int]:
    return {word: at for at, word in enumerate((*SPECIAL, *vocabulary()))}


def size() -> int:
    """How many tokens there are."""
    return len(_ids())


def ids_of(text: str) -> list[int]:
    """Ids of plain words; a word nano does not know is `UNKNOWN`."""
    return [_ids().get(word, UNKNOWN) for word in text.split()]


def text_of(ids: list[int]) -> str:
    """Words of ``ids`` up to the first `END`; other special tokens are left out."""
    words = (*SPECIAL, *vocabulary())
    kept = ids[: ids.index(END)] if END in ids else ids
    return " ".join(words[at] for at in kept if at >= len(SPECIAL))


def write_tokenizer(directory: Path) -> None:
    """Write ``tokenizer.json``: lower case, words and special tokens; apostrophes and figures only separate words."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel(_ids(), unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[^a-z]+"), "removed")
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    tokenizer.save(str(directory / "tokenizer.json"))
