"""What may be set about every evaluation."""

from pydantic import Field

from components.common.step import Settings


class EvaluateSettings(Settings):
    """Section ``evaluate``: resamples of an interval, examples shown, threads of the model; tasks add their own."""

    resamples: int = Field(2000, ge=100, le=100_000)
    examples: int = Field(12, ge=0, le=200)
    threads: int = Field(2, ge=1)
    seed: int = 0
