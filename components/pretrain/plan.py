"""The curriculum: how long the lines are, how long the window, how fast the learning, for how many steps."""

from dataclasses import dataclass

from components.pretrain.clips import Shard


@dataclass(frozen=True)
class Phase:
    """``steps`` batches of ``size`` windows of ``seconds``, from ``shards``; ``ctc`` weighs the encoder's own loss.

    ``joined``: share of windows that hold two clips; None: clips as they were read, no noise, no masks, no prompts.
    """

    name: str
    steps: int
    size: int
    seconds: float
    ctc: float
    shards: tuple[Shard, ...]
    joined: float | None = 0.15


WORDS = (Shard("words-0", 6000, 2, 101),)
SHORT = tuple(Shard(f"short-{i}", 5000, 5, 201 + i) for i in range(2))
LONG = tuple(Shard(f"long-{i}", 5000, 14, 301 + i) for i in range(4))
FULL = tuple(Shard(f"full-{i}", 5000, 14, 401 + i, shortest=8) for i in range(3))
SHARDS = [*WORDS, *SHORT, *LONG, *FULL]

PHASES = (
    # CTC over sounds starts it, at step 150 or so; over words, tried first, it left 99 % errors after 500 steps.
    Phase("words", 500, 64, 2.0, 1.0, WORDS, joined=None),
    Phase("short", 1000, 32, 4.0, 0.5, SHORT),
    Phase("long", 1300, 32, 6.0, 0.3, (*SHORT, *LONG)),
    # Most lines above are short; without this phase the second half of a full window is guessed.
    Phase("full", 1500, 32, 6.0, 0.3, (*LONG[:2], *FULL), joined=0.5),
)
PEAK = 1.5e-3
WARM_UP = 200
DECAY_FROM = 0.45
"""Share of all steps after which the rate falls, along a cosine, to a fiftieth of `PEAK`."""


def rate_at(step: int, total: int) -> float:
    """Learning rate of batch ``step`` of ``total``."""
    from math import cos, pi

    if step < WARM_UP:
        return PEAK * (step + 1) / WARM_UP
    done = max(0.0, (step / total - DECAY_FROM) / (1 - DECAY_FROM))
    return PEAK * (0.02 + 0.98 * 0.5 * (1 + cos(pi * min(done, 1.0))))
