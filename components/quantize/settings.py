"""What the variants of every task must hold."""

from pydantic import Field

from components.common.step import Settings


class QuantizeSettings(Settings):
    """Section ``quantize``; each task adds how its quality is measured (components/tasks/<task>).

    ``min_smaller``: share of bytes INT8 must save; ``min_retained``: share of fp32's quality a variant must keep;
    ``repeats``: samples of latency; ``threads`` of one session, as in serving.
    """

    min_smaller: float = Field(0.74, ge=0, lt=1)
    min_retained: float = Field(0.99, ge=0, le=1)
    repeats: int = Field(60, ge=3)
    threads: int = Field(1, ge=1)
    seed: int = 17
