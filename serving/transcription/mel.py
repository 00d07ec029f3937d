"""Whisper's log-mel features in numpy, so that serving needs neither torch nor transformers nor scipy for them."""

from functools import cache

import numpy as np
import numpy.typing as npt

RATE = 16_000
WINDOW = 400
HOP = 160
Floats = npt.NDArray[np.float32]


def log_mel(samples: Floats, n_mels: int = 80, frames: int = 3000) -> Floats:
    """Mono samples [n] float32 at 16 kHz, cut or zero-padded to ``frames`` x 10 ms, as [n_mels, frames] float32.

    Method: Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision" (2022): STFT of 400 samples
    every 160, Slaney mel filters, log10, no more than 8 below the window's maximum, then (x + 4) / 4.
    """
    return log_mel_batch([samples], n_mels, frames)[0]


def log_mel_batch(windows: list[Floats], n_mels: int = 80, frames: int = 3000) -> Floats:
    """`log_mel` of each window, as one array [len(windows), n_mels, frames] float32."""
    return np.stack([_one(np.asarray(samples, np.float32), n_mels, frames) for samples in windows])


def _one(samples: Floats, n_mels: int, frames: int) -> Floats:
    length = frames * HOP
    held = np.zeros(length, np.float32)
    held[: min(length, len(samples))] = samples[:length]
    # Only as far as there is sound: the silence behind it has one constant value, which the floor below sets.
    heard = min(frames, -(-(min(length, len(samples)) + WINDOW) // HOP) + 1)
    padded = np.pad(held, WINDOW // 2, mode="reflect")
    rows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[: heard * HOP : HOP]
    spectrum = np.fft.rfft(rows * _hann(), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    features = np.full((n_mels, frames), -10.0, np.float32)
    features[:, :heard] = np.log10(np.maximum(power @ _filters(n_mels), 1e-10)).T
    np.maximum(features, features.max() - 8.0, out=features)
    return (features + 4.0) / 4.0


@cache
def _hann() -> Floats:
    """Periodic Hann window [400]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def _to_hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Slaney's scale (Auditory Toolbox, 1998): 3 mels per 200 Hz up to 1 kHz, 27 mels per factor of 6.4 above."""
    return np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))


@cache
def _filters(n_mels: int) -> Floats:
    """Triangular filters [201, n_mels] between 0 and 8 kHz, each of the same area."""
    top = 15 + 27 * np.log(8) / np.log(6.4)
    edges = _to_hertz(np.linspace(0, top, n_mels + 2))
    bins = np.linspace(0, RATE / 2, WINDOW // 2 + 1)
    slopes = edges[None, :] - bins[:, None]
    rising, falling = -slopes[:, :-2] / np.diff(edges)[:-1], slopes[:, 2:] / np.diff(edges)[1:]
    filters = np.maximum(0, np.minimum(rising, falling))
    return (filters * (2 / (edges[2:] - edges[:-2]))).astype(np.float32)
