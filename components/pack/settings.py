"""What pack can be told."""

from pydantic import Field

from components.step import Settings


class PackSettings(Settings):
    """Settings of pack.

    ``sentences``: most sentences of one passage that an answer may quote (each costs a vector). ``l2``: pull of the
    ranker's weights towards its prior, in nats per question set. ``wrong_answer_costs``: what a wrong answer costs
    where a right one earns 1 and abstaining 0; it sets the abstain threshold. ``mlflow_run``: the run that tracked the
    training, for the lineage. ``workers``: threads that encode (0: one a core).
    """

    system: str = "codebase"
    sentences: int = Field(default=4, ge=0, le=32)
    l2: float = Field(default=1.0, gt=0)
    wrong_answer_costs: float = Field(default=0.25, ge=0)
    mlflow_run: str = ""
    workers: int = Field(default=0, ge=0)
