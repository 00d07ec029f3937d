"""What may be set about every quality gate, and how a person overrules it."""

from pydantic import Field, model_validator

from components.common.step import Settings


class GateSettings(Settings):
    """Section ``gate``; each task adds its own (components/tasks/<task>). Differences are in the score's own unit.

    ``margin``: the deciding difference's interval must start above it. ``tolerance``: what no secondary figure may
    surely lose. A slice of at least ``min_slice`` examples may not fall significantly: the interval's upper end stays
    above minus ``slice_tolerance``. ``diversity`` is the least share of distinct outputs, against what is named there.
    ``refresh``: nothing was trained, only the data are new: the challenger need not be better, only not worse than the
    champion (the interval starts above minus ``tolerance``), and may be unchanged; floors hold as ever.
    A person overrules by giving both name and reason; both stay on record in every verdict that is overruled.
    """

    margin: float = Field(0.0, ge=0)
    tolerance: float = Field(0.02, ge=0)
    slice_tolerance: float = Field(0.02, ge=0)
    min_slice: int = Field(20, ge=2)
    diversity: float = Field(0.9, ge=0)
    refresh: bool = False
    resamples: int = Field(10_000, ge=1000, le=100_000)
    seed: int = 0
    overruled_by: str = ""
    overrule_reason: str = ""

    @model_validator(mode="after")
    def _named_and_reasoned(self) -> "GateSettings":
        if bool(self.overruled_by.strip()) != bool(self.overrule_reason.strip()):
            raise ValueError(
                "overruled_by and overrule_reason: a person overrules by name and with a reason; give both"
            )
        return self
