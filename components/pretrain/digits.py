"""Recordings of the Free Spoken Digit Dataset, joined into short utterances with their references."""

import random
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.pretrain.text import DIGITS
from components.pretrain.voices import RATE, trimmed
from serving.contract.errors import SluiceError

Floats = npt.NDArray[np.float32]
SPEAKERS = ("george", "jackson", "lucas", "nicolas")
"""Whom training may hear. The fifth, theo, is never used, nor are recordings 0-4 of anyone (FSDD's own test split)."""
KEPT_BACK = "theo"
TEST_NUMBERS = range(5)
TRAIN_NUMBERS = range(5, 50)


@cache
def _recording(path: Path) -> Floats:
    """One recording as float32 [n] at 16 kHz, silence cut, peak 0.5."""
    from scipy.io import wavfile
    from scipy.signal import resample_poly

    rate, raw = wavfile.read(path)
    factor = np.gcd(rate, RATE)
    samples = resample_poly(raw.astype(np.float32) / 32768, RATE // factor, rate // factor).astype(np.float32)
    samples = trimmed(samples, 0.01, 0.03)
    return samples * np.float32(0.5 / max(float(np.abs(samples).max(initial=0)), 1e-6))


def recordings(folder: Path, speakers: Iterable[str], numbers: range) -> dict[str, list[list[Path]]]:
    """Files ``{digit}_{speaker}_{number}.wav`` below ``folder``: for each speaker ten lists, one a digit.

    Raises `SluiceError` when a speaker lacks a digit there.
    """
    files = {path.name: path for path in Path(folder).rglob("*.wav")}
    found: dict[str, list[list[Path]]] = {}
    for speaker in speakers:
        names = [[f"{digit}_{speaker}_{number}.wav" for number in numbers] for digit in range(10)]
        found[speaker] = [[files[name] for name in row if name in files] for row in names]
        if not all(found[speaker]):
            raise SluiceError(
                f"{folder}: no recordings {numbers} of every digit by {speaker}; expected e.g. 7_{speaker}_0.wav (FSDD)"
            )
    return found


def digit_strings(
    folder: Path, speakers: Iterable[str], numbers: range, count: int, seed: int, longest: int = 5
) -> list[tuple[Floats, str, str]]:
    """``count`` utterances of 1 to ``longest`` digits, each by one speaker, with gaps of 0.05 to 0.25 s.

    Returns (samples float32 [n] at 16 kHz, text such as "seven nine", speaker), the same for the same ``seed``.
    ``numbers`` chooses among each speaker's recordings. Raises `SluiceError` when ``folder`` lacks them.
    """
    found, rng = recordings(folder, speakers, numbers), random.Random(seed)
    made = []
    for _ in range(count):
        speaker = rng.choice(sorted(found))
        digits = [rng.randrange(10) for _ in range(rng.randint(1, longest))]
        parts: list[Floats] = []
        for digit in digits:
            parts += [
                _recording(rng.choice(found[speaker][digit])),
                np.zeros(int(RATE * rng.uniform(0.05, 0.25)), np.float32),
            ]
        made.append((np.concatenate(parts[:-1]), " ".join(DIGITS[digit] for digit in digits), speaker))
    return made
