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


def perturb(samples: Floats, length: int, speeds: tuple[float, ...], pause: int, rng: np.random.Generator) -> Floats:
    """One of ``speeds``, as far as the result fits ``length`` samples, behind a random pause of up to ``pause``."""
    fitting = [speed for speed in speeds if len(samples) / speed <= length] or [1.0]
    said = change_speed(samples, fitting[rng.integers(len(fitting))])[:length]
    before = int(rng.integers(0, min(pause, length - len(said)) + 1))
    return np.concatenate([np.zeros(before, np.float32), said])


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
