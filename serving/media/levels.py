"""How loud a recording is, frame by frame and as a whole."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.media.read import RATE, Floats, Recording, Source

FRAME = 320
"""Samples of one frame: 20 ms."""
FLOOR = -100.0
_LEAST_CONTRAST, _QUIET = 6.0, -60.0


@dataclass(frozen=True)
class Levels:
    """A whole recording: seconds of sound, RMS and peak in dBFS (a full-scale square wave is 0), and ``silence_share``,
    the share (0..1) of its 20 ms frames without voice or other sound above the background; ``damaged`` as `Recording`.
    """

    seconds: float
    loudness_dbfs: float
    peak_dbfs: float
    silence_share: float
    damaged: bool


def measure(source: Source) -> Levels:
    """Decode all of ``source`` once, in bounded memory. Errors: as `Recording`."""
    power, peak, count, silent, frames = 0.0, 0.0, 0, 0, 0
    with Recording(source) as recording:
        for block in recording.blocks():
            power += float(np.square(block, dtype=np.float64).sum())
            peak = max(peak, float(np.abs(block).max()))
            count += len(block)
            sound = active(levels(block))
            silent += int((~sound).sum())
            frames += len(sound)
        damaged = recording.damaged
    return Levels(count / RATE, decibels(math.sqrt(power / count)), decibels(peak), silent / max(frames, 1), damaged)


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
