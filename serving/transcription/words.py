"""When each word was said, from the attention that a Whisper decoder gives to the window while it writes.

Method: openai-whisper's word timing (Jong Wook Kim, 2023): weights of the alignment heads, standardised over the
tokens, median-filtered over time, averaged, then the cheapest monotonic path (Sakoe & Chiba's time warping, 1978).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serving.transcription.mel import Floats

PER_SECOND = 50
"""Encoder positions in a second."""
_NETWORK = ((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6), (2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4))
"""Exchanges after which the fourth of seven values is their median (Devillard, "Fast median search", 1998)."""


def token_times(attention: Floats, seconds: float) -> npt.NDArray[np.float64]:
    """Where each of n tokens begins, and where the last ends: seconds into the window, [n + 1].

    In: attention [heads, n + 1, positions], a row for each token as it was predicted and one for the end; ``seconds``:
    how long the window's sound is.
    """
    positions = max(1, min(attention.shape[2], round(seconds * PER_SECOND)))
    weights = attention[:, :, :positions].astype(np.float32)
    weights = weights / np.maximum(weights.sum(axis=2, keepdims=True), 1e-9)
    spread = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    tokens, frames = warp(-median(weights).mean(axis=0))
    first = np.flatnonzero(np.diff(tokens, prepend=-1))
    return frames[first] / PER_SECOND


def median(values: Floats) -> Floats:
    """Median of 7 along the last axis, the ends mirrored."""
    if values.shape[-1] < 4:
        return values
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(3, 3)], mode="reflect")
    width = values.shape[-1]
    parts = [padded[..., at : at + width] for at in range(7)]
    for low, high in _NETWORK:
        parts[low], parts[high] = np.minimum(parts[low], parts[high]), np.maximum(parts[low], parts[high])
    return parts[3]


def warp(cost: Floats) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The cheapest path through cost [n, m] from its first corner to its last, by steps of 1 in either or both axes.

    Out: row and column of each place on the path. Computed by anti-diagonals, each as one vector.
    """
    n, m = cost.shape
    # Row d of the skewed matrix is the anti-diagonal i + j = d, indexed by i.
    skewed = np.full((n + m - 1, n), np.inf, np.float32)
    i, j = np.indices((n, m)).reshape(2, -1)
    skewed[i + j, i] = cost.reshape(-1)
    steps = np.zeros((n + m - 1, n), np.int8)
    one, two = np.full(n + 1, np.inf, np.float32), np.full(n + 1, np.inf, np.float32)
    two[0] = 0.0  # stands before the first corner; index i + 1 is row i
    for d in range(n + m - 1):
        choices = np.stack([two[:-1], one[:-1], one[1:]])
        steps[d] = choices.argmin(axis=0)
        now = np.concatenate([[np.float32(np.inf)], choices.min(axis=0) + skewed[d]])
        one, two = now, one
    return _back(steps, n, m)


def _back(steps: npt.NDArray[np.int8], n: int, m: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    i, j = n - 1, m - 1
    rows, columns = [i], [j]
    while i or j:
        step = 2 if i == 0 else 1 if j == 0 else int(steps[i + j, i])
        i, j = i - (step < 2), j - (step != 1)
        rows.append(i)
        columns.append(j)
    return np.asarray(rows[::-1], np.int64), np.asarray(columns[::-1], np.int64)


def spans(times: Sequence[float], groups: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Begin and end of words that are ranges of tokens; an overlong word is shortened to thrice the usual length.

    Attention often stays on a word through the pause that follows it, and then its end says nothing.
    """
    found = [(float(times[begin]), float(times[end])) for begin, end in groups]
    lengths = [end - begin for begin, end in found if end > begin]
    most = max(0.6, 3 * float(np.median(lengths))) if lengths else 0.6
    return [(begin, min(end, begin + most)) for begin, end in found]
