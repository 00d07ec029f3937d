"""Batches for training: clips joined, bent, hidden in noise, placed in a window, as features and token ids."""

import random
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.pretrain.clips import Clip, Pool
from components.pretrain.phones import sounds_of
from components.pretrain.text import vocabulary
from components.pretrain.vocabulary import END, ENGLISH, IGNORED, NO_SPEECH, PREFIX, PREVIOUS, ids_of
from components.pretrain.voices import RATE
from serving.transcription.mel import log_mel_batch

Floats = npt.NDArray[np.float32]
SILENT, NOISY, MUFFLED, PROMPTED = 0.02, 0.35, 0.08, 0.1
"""Shares of windows without speech, with noise, without the upper half of the spectrum, with a prompt."""


@dataclass(frozen=True)
class Batch:
    """``features`` [n, 80, frames] float32, ``tokens`` and ``labels`` [n, t] int64 (`IGNORED` where nothing is asked),
    ``sounds`` of each window as `phones` numbers them, for CTC.
    """

    features: Floats
    tokens: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    sounds: list[list[int]]


def make_batch(
    pool: Pool, digits: list[Clip], size: int, seconds: float, rng: random.Random, joined: float | None
) -> Batch:
    """``size`` windows of ``seconds`` from the pool, one in seven from ``digits`` (FSDD strings, may be empty).

    ``joined``: share of windows that hold two clips; None: clips as they were read, for the first steps.
    """
    windows, texts, clean = [], [], joined is None
    for _ in range(size):
        if joined is None:
            clip = _drawn(pool, digits, seconds, rng)
        elif rng.random() < SILENT:
            clip = Clip(np.zeros(0, np.float32), "")
        else:
            clip = _joined(pool, digits, seconds, rng, joined)
        windows.append(_window(clip.samples, seconds, rng, clean))
        texts.append(clip.text)
    features = log_mel_batch(windows, frames=int(seconds * 100))
    if not clean:
        _mask(features, rng)
    return with_labels(features, texts, rng, 0.0 if clean else PROMPTED)


def with_labels(features: Floats, texts: list[str], rng: random.Random, prompted: float) -> Batch:
    """Token ids and labels for ``texts``: forced prefix, words, end; a share of ``prompted`` have a prompt in front."""
    rows, asked, words = [], [], [ids_of(text) for text in texts]
    for spoken in words:
        prompt = _prompt(spoken, rng) if rng.random() < prompted else []
        row = [*prompt, *PREFIX, *spoken]
        rows.append(row)
        first = [IGNORED] * len(prompt) + [ENGLISH if spoken else NO_SPEECH, *PREFIX[2:]]
        asked.append([*first, *spoken, END])
    longest = max(map(len, rows))
    tokens = np.array([row + [END] * (longest - len(row)) for row in rows], np.int64)
    labels = np.array([row + [IGNORED] * (longest - len(row)) for row in asked], np.int64)
    return Batch(features, tokens, labels, [sounds_of(text) for text in texts])


def _prompt(spoken: list[int], rng: random.Random) -> list[int]:
    """`PREVIOUS` and some words: half the time some that are spoken are among them, as with a user's hints."""
    words = vocabulary()
    hints = ids_of(" ".join(rng.choice(words) for _ in range(rng.randint(1, 10))))
    if rng.random() < 0.5:
        hints += rng.sample(spoken, min(len(spoken), rng.randint(1, 3)))
        rng.shuffle(hints)
    return [PREVIOUS, *hints]


def _drawn(pool: Pool, digits: list[Clip], seconds: float, rng: random.Random) -> Clip:
    return rng.choice(digits) if digits and rng.random() < 1 / 7 else pool.clip(rng, seconds - 0.15)


def _joined(pool: Pool, digits: list[Clip], seconds: float, rng: random.Random, share: float) -> Clip:
    """One clip, or two with a pause between when both fit into ``seconds``."""
    room = seconds - 0.15
    clip = _drawn(pool, digits, seconds, rng)
    samples = _stretched(clip.samples, rng)
    gap = rng.uniform(0.15, 0.7)
    left = room - len(samples) / RATE - gap
    if left > 0.6 and rng.random() < share:
        other = pool.clip(rng, left / 1.1)
        more = _stretched(other.samples, rng)
        if len(more) / RATE <= left:
            pause = np.zeros(int(gap * RATE), np.float32)
            return Clip(np.concatenate([samples, pause, more]), f"{clip.text} {other.text}")
    return Clip(samples, clip.text)


def _stretched(samples: Floats, rng: random.Random) -> Floats:
    """Speed (and with it pitch) changed by up to 8 %, and the level by up to 12 dB."""
    level = np.float32(10 ** rng.uniform(-0.6, 0.0))
    if rng.random() < 0.6:
        return samples * level
    places = np.arange(0, len(samples) - 1, rng.uniform(0.92, 1.08))
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32) * level


def _window(samples: Floats, seconds: float, rng: random.Random, clean: bool) -> Floats:
    """``samples`` at a random place in a window of ``seconds``, with a coloured spectrum and noise."""
    length = int(seconds * RATE)
    samples = samples[:length]
    noise = np.random.default_rng(rng.getrandbits(32))
    start = rng.randint(0, min(length - len(samples), int(0.8 * RATE)))
    window = np.zeros(length, np.float32)
    window[start : start + len(samples)] = samples
    if clean:
        return window
    window[start : start + len(samples)] = _coloured(samples, noise) if len(samples) and rng.random() < 0.4 else samples
    if rng.random() < MUFFLED and len(samples):
        window = _muffled(window)
    if rng.random() < NOISY or not len(samples):
        loud = float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.05
        window += _noise(length, noise) * np.float32(loud * 10 ** (-rng.uniform(8, 45) / 20))
    return window


def _coloured(samples: Floats, noise: np.random.Generator) -> Floats:
    """A short random filter: another room, another microphone."""
    taps = noise.normal(0, 0.12, 9).astype(np.float32)
    taps[0] = 1.0
    return np.convolve(samples, taps)[: len(samples)]


def _muffled(window: Floats) -> Floats:
    """Without what is above 4 kHz, as a telephone or an 8 kHz recording."""
    from scipy.signal import resample_poly

    return resample_poly(resample_poly(window, 1, 2), 2, 1).astype(np.float32)[: len(window)]


def _noise(length: int, noise: np.random.Generator) -> Floats:
    """White to brown noise of level 1."""
    from scipy.signal import lfilter

    made = noise.standard_normal(length, np.float32)
    made = lfilter([1.0], [1.0, -noise.uniform(0, 0.97)], made).astype(np.float32)
    return made / max(float(made.std()), 1e-6)


def _mask(features: Floats, rng: random.Random) -> None:
    """SpecAugment (Park et al., 2019), in place: at most a band of 10 mels and a gap of 15 frames, at the mean."""
    for row in features:
        mean = row.mean()
        for _ in range(rng.randint(0, 1)):
            low = rng.randrange(row.shape[0])
            row[low : low + rng.randint(1, 10)] = mean
        for _ in range(rng.randint(0, 1)):
            left = rng.randrange(row.shape[1])
            row[:, left : left + rng.randint(1, 15)] = mean
