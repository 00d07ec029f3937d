"""What a rollout may be told, by the section ``rollout`` of a system's YAML."""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, create_model, field_validator, model_validator

from components.common.step import Settings
from load_tests.slo import LoadTest
from serving.contract.task import all_tasks

Count = Annotated[int | None, Field(gt=0)]
Amount = Annotated[float | None, Field(gt=0, allow_inf_nan=False)]


class ServingSettings(Settings):
    """How a replica serves, by the section ``serving`` beside the steps' in a system's YAML.

    Each is the flag of that name of `python -m serving`, whose help says what it means: threads and inputs of a model
    call, what may wait and be in flight (beyond, 429), bytes of a body (beyond, 413), seconds to arrive, to answer and
    to end, the days that answers without a vote are kept; and the limits that a task has of its own. What is not said
    is as the manifest has it, else the server's default. A change takes effect with the next bundle that is rolled out.
    """

    model_config = ConfigDict(extra="allow")  # checked below

    threads: Count = None
    max_batch: Count = None
    max_queue: Count = None
    max_in_flight: Count = None
    max_items: Count = None
    max_body: Count = None
    max_arrival: Amount = None
    deadline: Amount = None
    drain: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    grace: Count = None
    keep_days: Count = None
    max_votes: Count = None

    @model_validator(mode="before")
    @classmethod
    def _of_tasks(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        own = {name: value for name, value in given.items() if name not in cls.model_fields}
        return {**given, **limits_of_tasks().model_validate(own).model_dump(exclude_none=True)}

    def flags(self) -> list[str]:
        """What is said, as arguments of the server."""
        return [f"--{name.replace('_', '-')}={value}" for name, value in self.model_dump(exclude_none=True).items()]


@cache
def limits_of_tasks() -> type[Settings]:
    """The limits that some task has of its own, by the names of their flags."""
    found = {one.metadata["flag"]: type(one.default) for task in all_tasks() for one in fields(task.limits)}
    kinds: dict[str, Any] = {
        flag.removeprefix("--").replace("-", "_"): (Count if kind is int else Amount, None)
        for flag, kind in found.items()
    }
    return create_model("LimitsOfTasks", __base__=Settings, **kinds)


class RolloutSettings(Settings):
    """Steps and windows of a rollout, and how much worse a canary may be before it is rolled back.

    steps: percent of users' traffic per step, rising, the last 100. window_s: seconds of load at each step. slo: the
    content of an SLO file, its path, or the name of an endpoint that has one (default: what is rolled out). rate,
    users: the load offered through the split, in requests/s and users at once (0: the SLO file's). direct_rate:
    requests/s offered beside it to each revision's own address, so that a small share of traffic still gives enough
    samples (0: a quarter of the load, or what that takes). ready_s: how long a revision may take until it is ready.
    settle_s: how long a changed split may take until it shows. alpha: one-sided significance level of each test.
    min_samples: answered or failed requests each side needs. min_questions: labelled requests both sides must have
    answered, as far as there are so many. The tolerances: share of errors, share of labelled requests answered
    correctly, ratio of latency (median and p95), share of users' votes that say "down". repeats: how often a window is
    looked at again when nothing but the speed was missed (the SLO's, or stable's), as by another program on the same
    machine; errors and wrong answers get no second look. detectable_error_rate: a window that could not have shown
    errors of this share more than stable's is inconclusive. longer: how many more windows, each twice as long as the
    one before, are tried before an inconclusive canary is rolled back; each is judged for itself, so that a sound
    canary is called worse by chance with a probability of at most (1 + longer) alpha a check. manifests: the
    folder with the endpoint's InferenceService and ServingRuntime (default: manifests/base/<endpoint>, here or in a
    folder on PYTHONPATH that `python -m manifests.write --to` wrote). serving: see `ServingSettings`.
    """

    steps: tuple[int, ...] = (10, 50, 100)
    repeats: int = Field(default=1, ge=0, le=5)
    longer: int = Field(default=2, ge=0, le=5)
    window_s: float = Field(default=6, ge=1, le=3600)
    slo: LoadTest | str = ""
    rate: float = Field(default=0, ge=0)
    users: int = Field(default=0, ge=0)
    direct_rate: float = Field(default=0, ge=0)
    ready_s: float = Field(default=60, gt=0)
    settle_s: float = Field(default=15, gt=0)
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    detectable_error_rate: float = Field(default=0.1, gt=0, le=1)
    min_samples: int = Field(default=40, ge=1)
    min_questions: int = Field(default=8, ge=0)
    error_tolerance: float = Field(default=0.005, ge=0, le=1)
    correct_tolerance: float = Field(default=0.05, ge=0, le=1)
    latency_ratio: float = Field(default=1.5, ge=1)
    vote_tolerance: float = Field(default=0.1, ge=0, le=1)
    manifests: str = ""
    serving: ServingSettings = ServingSettings()

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if not steps or steps[-1] != 100 or list(steps) != sorted(set(steps)) or steps[0] < 1:
            raise ValueError(
                f"steps {list(steps)}: expected rising percentages from 1 that end in 100, e.g. [10, 50, 100]"
            )
        return steps
