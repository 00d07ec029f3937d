"""How loud samples are, frame by frame, and which of the frames hold sound."""

import math

import numpy as np
import numpy.typing as npt

RATE = 16_000
Floats = npt.NDArray[np.float32]

FRAME = 320
"""Samples of one frame: 20 ms."""
FLOOR = -100.0
_LEAST_CONTRAST, _QUIET = 6.0, -60.0


def decibels(value: float) -> float:
    """Amplitude (1 is full scale) in dBFS, at least -100."""
    return max(FLOOR, 20 * math.log10(max(value, 1e-9)))


def levels(samples: Floats) -> Floats:
    """RMS of each 20 ms frame in dBFS: [n] samples to [n // 320] (at least one, the last frame takes the rest)."""
    whole = max(1, len(samples) // FRAME)
    frames = np.resize(samples, FRAME) if len(samples) < FRAME else samples[: whole * FRAME]
    power = np.square(frames.reshape(-1, FRAME)).mean(axis=1)
    return np.maximum(FLOOR, 10 * np.log10(np.maximum(power, 1e-10))).astype(np.float32)


def active(values: Floats) -> npt.NDArray[np.bool_]:
    """Which frames hold sound: above the background by up to 10 dB, less where the background is loud.

    Background is the 10th percentile of ``values`` (dBFS), sound what 0.2 s of them reach. Without contrast between
    the two everything is sound, or nothing if it is quiet: below -60 dBFS.
    """
    background, loud = float(np.percentile(values, 10)), float(np.sort(values)[-10:][0])
    if loud < _QUIET:
        return np.zeros(len(values), bool)
    background = max(background, loud - 60)
    if loud - background < _LEAST_CONTRAST:
        return values > _QUIET
    return values > background + min(10.0, 0.3 * (loud - background))
