"""What may be set about the evaluation."""

from pydantic import Field

from components.step import Settings


class EvaluateSettings(Settings):
    """Section ``evaluate``: resamples of an interval, bins of confidence, examples shown, threads of the encoder."""

    resamples: int = Field(2000, ge=100, le=100_000)
    bins: int = Field(10, ge=2, le=50)
    examples: int = Field(12, ge=0, le=200)
    threads: int = Field(2, ge=1)
    seed: int = 0
