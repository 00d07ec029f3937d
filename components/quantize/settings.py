"""Settings of the step "Quantize"."""

from pydantic import Field

from components.step import Settings


class QuantizeSettings(Settings):
    """What the variants must hold and how they are measured.

    ``min_smaller``: share of bytes INT8 must save; ``min_retained``: share of recall@10 a variant must keep of fp32's;
    ``max_difference``: largest absolute difference the exported graph may have from torch; ``questions`` and
    ``passages``: sizes of the quality measurement (0 passages: all of the split); ``repeats`` latency samples;
    ``threads`` of one session, as in serving; ``static``: also try INT8 with calibrated activations.
    """

    min_smaller: float = Field(0.74, ge=0, lt=1)
    min_retained: float = Field(0.99, ge=0, le=1)
    max_difference: float = Field(1e-3, gt=0)
    questions: int = Field(300, ge=1)
    passages: int = Field(0, ge=0)
    repeats: int = Field(60, ge=3)
    threads: int = Field(1, ge=1)
    static: bool = False
    seed: int = 17
