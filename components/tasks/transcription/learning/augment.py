"""The same words, never quite the same sound."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


def change_speed(samples: Floats, factor: float) -> Floats:
    """Mono samples said ``factor`` times as fast, pitch and all (Ko et al. 2015: 0.9, 1.0, 1.1), by resampling."""
    from fractions import Fraction

    from scipy.signal import resample_poly

    ratio = Fraction(factor).limit_denominator(100)
    if ratio == 1:
        return samples
    return resample_poly(samples, ratio.denominator, ratio.numerator).astype(np.float32)


def place(sound: Floats, before: int, frames: int) -> Floats:
    """Features [mels, heard] of an utterance inside a window of ``frames``, ``before`` frames of silence in front.

    Silence is the lowest value: log-mel features know nothing below 8 under their maximum.
    """
    window = np.full((len(sound), frames), sound.min(), np.float32)
    window[:, before : before + sound.shape[1]] = sound
    return window


def mask(features: Floats, heard: int, bands: int, band: int, gaps: int, gap: int, rng: np.random.Generator) -> Floats:
    """SpecAugment (Park et al. 2019) without its time warp: features [mels, frames] with holes at their mean.

    ``bands`` holes of up to ``band`` mels, ``gaps`` of up to ``gap`` frames, the latter within the first ``heard``
    frames and no longer than a fifth of them, so that a short utterance keeps its words.
    """
    masked, mean = features.copy(), features[:, :heard].mean()
    for _ in range(bands):
        wide = int(rng.integers(0, min(band, len(masked)) + 1))
        low = int(rng.integers(0, len(masked) - wide + 1))
        masked[low : low + wide] = mean
    for _ in range(gaps):
        wide = int(rng.integers(0, min(gap, heard // 5) + 1))
        left = int(rng.integers(0, heard - wide + 1))
        masked[:, left : left + wide] = mean
    return masked
