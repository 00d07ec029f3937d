"""The sounds of each word, which the encoder is taught to tell apart before anything can learn words from it."""

import re
import subprocess
from functools import cache

from components.pretrain.text import vocabulary
from components.pretrain.voices import espeak
from serving.contract.errors import SluiceError

BLANK = 0
"""CTC's blank; sounds count from 1."""


@cache
def _spoken() -> dict[str, list[str]]:
    """Sounds (IPA, without stress) of each word, as American English has them; accents differ, which CTC forgives."""
    command = [espeak(), "-q", "--ipa", "--sep=_", "-v", "en-us"]
    done = subprocess.run(command, input="\n".join(vocabulary()), capture_output=True, text=True, check=False)
    lines = [line.strip() for line in done.stdout.splitlines() if line.strip()]
    if len(lines) != len(vocabulary()):
        raise SluiceError(
            f"espeak-ng: {len(lines)} pronunciations for {len(vocabulary())} words; nano needs 1.51 or later"
        )
    return {
        word: [sound for sound in re.split(r"[_\s]+", re.sub("[ˈˌː]", "", line)) if sound]
        for word, line in zip(vocabulary(), lines, strict=True)
    }


@cache
def sounds() -> tuple[str, ...]:
    """Every sound of the vocabulary, sorted; about forty."""
    return tuple(sorted({sound for row in _spoken().values() for sound in row}))


def sounds_of(text: str) -> list[int]:
    """Numbers from 1 of the sounds of plain words, in order. Raises `SluiceError` without espeak-ng."""
    numbers = {sound: at for at, sound in enumerate(sounds(), BLANK + 1)}
    return [numbers[sound] for word in text.split() for sound in _spoken()[word]]
