"""Topic boundaries between sentences, after TextTiling (Hearst 1997): where the words before and after differ most."""

import math
from collections import Counter
from collections.abc import Sequence

from serving.retrieval.text import words


def boundaries(texts: Sequence[str], sizes: Sequence[int], room: int, least: int, block: int) -> list[int]:
    """Indices of the sentences that begin a segment: ascending, 0 first; [] without sentences.

    In: sentences with their ``sizes`` in tokens. A gap is a boundary when its depth (how far similarity rises on both
    sides) exceeds the mean less half a standard deviation and both segments have ``least`` sentences. A segment over
    ``room`` tokens is cut again at its deepest gap, so only a sentence that is itself too long can exceed it.
    """
    if not texts:
        return []
    depth = depths([_similarity(texts, at, block) for at in range(1, len(texts))])
    mean = sum(depth) / len(depth) if depth else 0.0
    spread = math.sqrt(sum((d - mean) ** 2 for d in depth) / len(depth)) if depth else 0.0
    chosen = {0, len(texts)}
    for at in sorted(range(1, len(texts)), key=lambda i: (-depth[i - 1], i)):
        if depth[at - 1] > max(mean - spread / 2, 0) and all(abs(at - other) >= least for other in chosen):
            chosen.add(at)
    found = sorted(chosen)
    return [at for low, high in zip(found, found[1:], strict=False) for at in _fit(low, high, sizes, depth, room)]


def depths(similarity: Sequence[float]) -> list[float]:
    """Depth score of every gap: the climbs to the next peak of similarity on the left and on the right, summed."""
    out = []
    for at, here in enumerate(similarity):
        peaks = [here, here]
        for side, order in enumerate((range(at - 1, -1, -1), range(at + 1, len(similarity)))):
            for other in order:
                if similarity[other] < peaks[side]:
                    break
                peaks[side] = similarity[other]
        out.append(peaks[0] + peaks[1] - 2 * here)
    return out


def _similarity(texts: Sequence[str], at: int, block: int) -> float:
    """Cosine of the word counts (stop words dropped) of the ``block`` sentences on either side of the gap ``at``."""
    sides = texts[max(0, at - block) : at], texts[at : at + block]
    left, right = (Counter(word for text in side for word in words(text)) for side in sides)
    norm = math.sqrt(sum(n * n for n in left.values()) * sum(n * n for n in right.values()))
    return sum(n * right[word] for word, n in left.items()) / norm if norm else 0.0


def _fit(low: int, high: int, sizes: Sequence[int], depth: Sequence[float], room: int) -> list[int]:
    """Begins of the segments that sentences ``low`` to ``high`` need to stay within ``room``."""
    if high - low < 2 or sum(sizes[low:high]) <= room:
        return [low]
    middle = (low + high) / 2
    cut = max(range(low + 1, high), key=lambda at: (depth[at - 1], -abs(at - middle)))
    return [*_fit(low, cut, sizes, depth, room), *_fit(cut, high, sizes, depth, room)]
