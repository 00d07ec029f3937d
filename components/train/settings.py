"""What a training run can be told: hyperparameters (searched) and settings (chosen once, in the system's YAML)."""

from typing import Literal

from pydantic import Field

from components.common.step import Settings


class Hyperparameters(Settings):
    """What the study searches. ``target_modules``: "qv" (query and value), "attention", or "all" linear layers."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)
    learning_rate: float = Field(4e-4, gt=0)
    batch: int = Field(64, ge=2)
    accumulation: int = Field(1, ge=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    target_modules: Literal["qv", "attention", "all"] = "all"


class TrainJobSettings(Settings):
    """Where a run on several nodes runs: ``runtime`` (a TrainingRuntime or ClusterTrainingRuntime of Kubeflow Trainer),
    ``claim`` (ReadWriteMany volume that the step mounts at SLUICE_CHECKPOINTS too), ``resources`` of one node,
    ``timeout_s``: seconds to wait for the job.
    """

    runtime: str = "torch-distributed"
    claim: str = "sluice-checkpoints"
    resources: dict[str, str] = {"cpu": "4", "memory": "16Gi"}
    timeout_s: int = Field(86_400, ge=1)


class TrainSettings(Settings):
    """How a run trains, whatever its task; a task adds its own fields in a subclass.

    ``epochs`` passes over the training rows, at most ``max_steps`` optimizer steps (0: no cap); ``evaluations``
    during the run; ``processes`` ranks on a machine; ``nodes`` more than one: a Kubeflow TrainJob, as ``job`` says;
    ``threads`` per process (0: as torch decides); ``interpolation`` share of the learned change that is kept (WiSE-FT,
    Wortsman et al. 2022: a point between base and tuned weights holds on rows unlike the training ones; 0.5 is what the
    paper takes unseen).
    """

    seed: int = 17
    epochs: float = Field(2.0, gt=0)
    max_steps: int = Field(100, ge=0)
    evaluations: int = Field(2, ge=1)
    checkpoint_every: int = Field(20, ge=1)
    interpolation: float = Field(0.5, gt=0, le=1)
    processes: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)
    job: TrainJobSettings = TrainJobSettings()
    threads: int = Field(0, ge=0)
