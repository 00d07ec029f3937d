"""What a step gets on a cluster and not on a laptop: everything that one settings file says, put on its task."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from components.common.step import IMAGE, Settings
from pipelines.settings import rooms
from serving.contract.errors import SluiceError

if TYPE_CHECKING:
    from kfp.dsl import PipelineTask

OWN = Path(__file__).with_name("cluster.yaml")
_MEMORY = r"[1-9][0-9]*(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?"
_CPU = r"([0-9]+\.)?[0-9]+|[1-9][0-9]*m"


def _quantity(pattern: str, example: str) -> Any:
    import re

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value!r} is not a quantity of Kubernetes that KFP takes, such as {example}")
        return value

    return AfterValidator(check)


Cpu = Annotated[str, Field(coerce_numbers_to_str=True), _quantity(_CPU, '"2", "0.5" or 500m')]
Memory = Annotated[str, Field(coerce_numbers_to_str=True), _quantity(_MEMORY, "4Gi or 500Mi")]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=253)]
Inside = Annotated[str, StringConstraints(pattern=r"^/.+")]


class Toleration(Settings):
    """A taint that a step's pod may be placed on, in the words of Kubernetes."""

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _sense(self) -> "Toleration":
        if self.operator == "Equal" and not self.key:
            raise ValueError("a toleration without key needs operator: Exists")
        return self


class Volume(Settings):
    """A directory of a step: of a PersistentVolumeClaim where ``claim`` names one, else empty and gone with the pod."""

    path: Inside
    claim: Name | None = None
    size: Memory | None = None


class Environment(Settings):
    """Names of variables that a ConfigMap or a Secret holds; a pod does not start while a required one is missing."""

    name: Name
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


class Step(Settings):
    """What one step asks of the cluster.

    image: another than the cluster's, such as one for CUDA. cpu: request. cpu_limit: none unless given. memory: request
    and limit at once, so that no neighbour takes it away. gpu: how many of ``gpu_type``. node_selector, labels: label
    to value. timeout_s: seconds before the pod is ended. retries: how often a failed pod is started again, after
    ``backoff_s`` seconds, then ``backoff_factor`` times as long, up to ``backoff_max_s``. cache: False never reuses
    results; True leaves it to the pipeline, in which steps that read live state are never cached.
    """

    image: str = ""
    cpu: Cpu = "1"
    cpu_limit: Cpu | None = None
    memory: Memory = "2Gi"
    gpu: int = Field(default=0, ge=0)
    gpu_type: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    volumes: tuple[Volume, ...] = ()
    labels: dict[str, str] = {}
    env: dict[str, str] = {}
    retries: int = Field(default=0, ge=0)
    backoff_s: int = Field(default=60, ge=0)
    backoff_factor: float = Field(default=2.0, ge=1)
    backoff_max_s: int = Field(default=3600, ge=0)
    timeout_s: int = Field(default=0, ge=0)
    cache: bool = True


class Cluster(Settings):
    """The file of settings.

    image: of every step; empty means what SLUICE_IMAGE names where the pipeline is compiled. service_account, user: who
    the steps are, to Kubernetes and in the pod (uid). pipeline_root: where artifacts go (``s3://bucket/prefix``);
    empty means where KFP is set up to put them. study_workers: pods that search hyperparameters side by side.
    config, secrets: variables of every step. defaults: of every step. steps: what is different in some, by the step's
    folder in components/.
    """

    image: str = ""
    service_account: Name = "sluice-pipeline"
    pipeline_root: str = ""
    study_workers: int = Field(default=2, ge=1)
    user: int = Field(default=10001, ge=1)
    config: tuple[Environment, ...] = ()
    secrets: tuple[Environment, ...] = ()
    defaults: Step = Step()
    steps: dict[str, Step] = {}

    @model_validator(mode="before")
    @classmethod
    def _steps_on_defaults(cls, values: Any) -> Any:
        steps = values.get("steps") or {}
        defaults = values.get("defaults") or {}
        if unknown := sorted(set(steps) - set(rooms())):
            raise ValueError(f"steps: no step {', '.join(unknown)}; there is {', '.join(sorted(rooms()))}")
        merged = {name: {**defaults, **step} if isinstance(step, Mapping) else step for name, step in steps.items()}
        return {**values, "steps": merged}

    def of(self, room: str) -> Step:
        """What the step of ``components/<room>`` asks for."""
        return self.steps.get(room, self.defaults)


def read_cluster(path: Path | None = None) -> Cluster:
    """Read a file of cluster settings, by default the project's own ``pipelines/cluster.yaml``.

    Raises:
        SluiceError: the file cannot be read, or something in it is unknown or not valid: says what and where.
    """
    path = path or OWN
    try:
        return Cluster.model_validate(yaml.safe_load(path.read_text()) or {})
    except OSError as error:
        raise SluiceError(f"cluster settings {path}: {error.strerror}; name a readable file with --cluster") from error
    except (yaml.YAMLError, AttributeError) as error:
        raise SluiceError(f"cluster settings {path}: not a YAML mapping; see pipelines/cluster.yaml") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        what = first["msg"].removeprefix("Value error, ")
        raise SluiceError(f"cluster settings {path}: {place + ': ' if place else ''}{what}") from error


_profile: ContextVar[Cluster | None] = ContextVar("cluster", default=None)


@contextmanager
def on_cluster(cluster: Cluster) -> Iterator[None]:
    """Pipelines that are traced inside this context get the cluster's settings."""
    token = _profile.set(cluster)
    try:
        yield
    finally:
        _profile.reset(token)


def workers(here: int) -> int:
    """How many workers share a study: what the cluster's settings say, or ``here`` on a laptop."""
    cluster = _profile.get()
    return cluster.study_workers if cluster else here


def dress(task: "PipelineTask", room: str, code: str) -> None:
    """Put the cluster's settings for a step on its task; nothing happens where no cluster is compiled for.

    ``code``, the digest of the step's code, goes into its arguments, where the step does not look but KFP's cache does:
    its key is made of image, arguments and inputs, and of no environment variable.
    """
    cluster = _profile.get()
    if cluster is None:
        return
    step = cluster.of(room)
    task.set_container_image(step.image or cluster.image or IMAGE)
    task.container_spec.args = [*task.container_spec.args, "--sluice_code_digest", code]
    _resources(task, step)
    _placement(task, step)
    _environment(task, cluster, step)
    if step.retries:
        task.set_retry(step.retries, f"{step.backoff_s}s", step.backoff_factor, f"{step.backoff_max_s}s")
    if not step.cache:
        task.set_caching_options(False)


def _resources(task: "PipelineTask", step: Step) -> None:
    task.set_cpu_request(step.cpu).set_memory_request(step.memory).set_memory_limit(step.memory)
    if step.cpu_limit:
        task.set_cpu_limit(step.cpu_limit)
    if step.gpu:
        task.set_accelerator_type(step.gpu_type).set_accelerator_limit(step.gpu)


def _placement(task: "PipelineTask", step: Step) -> None:
    from kfp import kubernetes

    for label, value in step.node_selector.items():
        kubernetes.add_node_selector(task, label, value)
    for taint in step.tolerations:
        kubernetes.add_toleration(task, taint.key, taint.operator, taint.value, taint.effect)
    for number, volume in enumerate(step.volumes):
        if volume.claim:
            kubernetes.mount_pvc(task, volume.claim, volume.path)
        else:
            kubernetes.empty_dir_mount(task, f"scratch-{number}", volume.path, size_limit=volume.size)
    if step.timeout_s:
        kubernetes.set_timeout(task, step.timeout_s)


def _environment(task: "PipelineTask", cluster: Cluster, step: Step) -> None:
    from kfp import kubernetes

    kubernetes.set_security_context(task, run_as_user=cluster.user, run_as_non_root=True)
    for label, value in step.labels.items():
        kubernetes.add_pod_label(task, label, value)
    for sources, use in (
        (cluster.config, kubernetes.use_config_map_as_env),
        (cluster.secrets, kubernetes.use_secret_as_env),
    ):
        for source in sources:
            for keys, optional in ((source.required, False), (source.optional, True)):
                if keys:
                    use(task, source.name, {key: key for key in keys}, optional=optional)
    # A pod sees its node's cores, not its own share of them.
    task.set_env_variable("OMP_NUM_THREADS", str(max(1, _cores(step.cpu_limit or step.cpu))))
    for name, value in step.env.items():
        task.set_env_variable(name, value)


def _cores(quantity: str) -> int:
    return int(quantity[:-1]) // 1000 if quantity.endswith("m") else int(float(quantity))
