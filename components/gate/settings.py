"""What may be set about the quality gate, and how a person overrules it."""

from pydantic import Field, model_validator

from components.step import Settings


class GateSettings(Settings):
    """Section ``gate``. Metrics are named ``<score>_full_<protocol>``: mrr, recall@K or ndcg@K; withheld or persona.

    ``metric`` decides: its interval's lower end must clear ``margin``. ``secondary`` metrics and the personas may not
    fall: the lower end stays above minus the tolerance. A slice of at least ``min_slice`` questions may not fall
    significantly: the interval's upper end stays above minus ``slice_tolerance``. ``floors`` are absolute.
    ``diversity`` is the least share of the champion's number of distinct first passages.
    A person overrules by giving both name and reason; both stay on record in every verdict that is overruled.
    """

    metric: str = "mrr_full_withheld"
    margin: float = Field(0.0, ge=0)
    secondary: tuple[str, ...] = ("recall@10_full_withheld",)
    tolerance: float = Field(0.02, ge=0)
    persona_metric: str = "mrr_full_persona"
    persona_tolerance: float = Field(0.05, ge=0)
    slice_tolerance: float = Field(0.02, ge=0)
    min_slice: int = Field(20, ge=2)
    floors: dict[str, float] = {"mrr_full_withheld": 0.3, "recall@10_full_withheld": 0.5, "recall@10_full_persona": 0.3}
    diversity: float = Field(0.9, ge=0)
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
