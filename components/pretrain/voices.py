"""Voices of espeak-ng: which read for training, which are kept back, and how one reads a line."""

import io
import random
import shutil
import subprocess
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from serving.contract.errors import SluiceError

RATE = 16_000
Floats = npt.NDArray[np.float32]
_LISTS: dict[str, list[str]] = yaml.safe_load((Path(__file__).parent / "voices.yaml").read_text(encoding="utf-8"))
ACCENTS, HEARD, HELD_OUT = (tuple(_LISTS[name]) for name in ("accents", "heard", "held_out"))
"""Variants that training never hears, in any accent: the samples and the figures for new voices are read by these."""


@dataclass(frozen=True)
class Voice:
    """One way to read: espeak-ng's accent and variant, words a minute (espeak's own count), pitch 0-99."""

    accent: str
    variant: str
    speed: int = 160
    pitch: int = 50

    @property
    def name(self) -> str:
        """espeak-ng's name for it, such as ``en-us+f2``."""
        return f"{self.accent}+{self.variant}"


def random_voice(rng: random.Random, variants: Sequence[str]) -> Voice:
    """A voice of any accent and one of ``variants``, at 130 to 190 words a minute and a pitch of 30 to 70."""
    return Voice(rng.choice(ACCENTS), rng.choice(variants), rng.randint(130, 190), rng.randint(30, 70))


def espeak() -> str:
    """Path of the program; raises `SluiceError` when it is not installed."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise SluiceError(
            "espeak-ng: no such program on PATH, and it reads the training lines; apt-get install espeak-ng"
        )
    return program


def read(text: str, voice: Voice, margin: float = 0.02) -> Floats:
    """``text`` read aloud: float32 [n] at 16 kHz, silence at both ends cut to ``margin`` seconds.

    Raises `SluiceError` when espeak-ng is missing or does not know the voice.
    """
    from scipy.signal import resample_poly

    command = [espeak(), "-v", voice.name, "-s", str(voice.speed), "-p", str(voice.pitch), "--stdout", text]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or len(done.stdout) < 100:
        raise SluiceError(
            f"espeak-ng: voice {voice.name} failed on '{text[:40]}' ({done.stderr.decode()[:80]}); "
            "see espeak-ng --voices"
        )
    with wave.open(io.BytesIO(done.stdout)) as stream:
        rate = stream.getframerate()
        # espeak-ng writes to a pipe and cannot know the length in the header, so everything behind it is sound.
        raw = np.frombuffer(done.stdout[44 : 44 + (len(done.stdout) - 44) // 2 * 2], "<i2")
    factor = np.gcd(rate, RATE)
    samples = resample_poly(raw.astype(np.float32) / 32768, RATE // factor, rate // factor).astype(np.float32)
    return trimmed(samples, margin)


def trimmed(samples: Floats, margin: float = 0.02, level: float = 0.01) -> Floats:
    """``samples`` without what is under ``level`` of their peak at both ends, but for ``margin`` seconds."""
    loud = np.flatnonzero(np.abs(samples) > level * max(float(np.abs(samples).max(initial=0)), 1e-6))
    if not len(loud):
        return samples
    extra = int(margin * RATE)
    return samples[max(0, loud[0] - extra) : loud[-1] + extra]
