"""Training on several nodes: a Kubeflow Trainer TrainJob that runs `components.train` under torchrun on each."""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

from components.common.step import IMAGE
from components.train.settings import TrainSettings
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir

GROUP = {"group": "trainer.kubeflow.org", "version": "v1alpha1", "plural": "trainjobs"}
POLL_S = float(os.environ.get("SLUICE_POLL_S", "10"))
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def train_on_nodes(
    run: str, files: dict[str, Path | str], hyper: dict[str, Any], settings: dict[str, Any], chosen: TrainSettings
) -> None:
    """Run the training named ``run`` (a digest) on ``chosen.nodes`` nodes, wait, and write the directory ``adapter``.

    The nodes share the volume of ``chosen.job.claim``, which this step has at ``SLUICE_CHECKPOINTS`` too: inputs,
    checkpoints and the result travel through it. The job is named by the digest, so a step that starts again takes up
    the job that runs; one that failed is replaced and goes on from its checkpoint. Errors: `SluiceError` with the
    job's own message where it fails, where the cluster refuses it, or where it takes longer than ``timeout_s``.
    """
    if not (shared := os.environ.get("SLUICE_CHECKPOINTS")):
        raise SluiceError("train: nodes > 1 needs SLUICE_CHECKPOINTS, the directory of a volume that all nodes share")
    folder, name = Path(shared) / f"job-{run}", f"sluice-train-{run}"
    _share_inputs(folder / "inputs", files, hyper, settings)
    jobs = Jobs(name)
    state, message = jobs.state()
    if state == "Failed" or (state == "Complete" and not (folder / "adapter").is_dir()):
        jobs.delete()
        state = ""
    if not state:
        jobs.submit(chosen, folder)
    end = time.monotonic() + chosen.job.timeout_s
    while state not in ("Complete", "Failed"):
        if time.monotonic() > end:
            raise SluiceError(
                f"TrainJob {name}: not finished after {chosen.job.timeout_s} s; raise train.job.timeout_s"
            )
        time.sleep(POLL_S)
        state, message = jobs.state(patient=True)
        if not state:
            raise SluiceError(f"TrainJob {name} was deleted while it ran; run the step again")
    if state == "Failed":
        raise SluiceError(f"TrainJob {name} failed: {message}; its log ends:\n{jobs.last_lines()}")
    if not (folder / "adapter").is_dir():
        raise SluiceError(
            f"TrainJob {name} is complete, but {folder} has no adapter; is train.job.claim ({chosen.job.claim}) the "
            "volume that this step has at SLUICE_CHECKPOINTS?"
        )
    with atomic_dir(files["adapter"]) as scratch:
        shutil.copytree(folder / "adapter", scratch, dirs_exist_ok=True)
    shutil.rmtree(folder)


def _share_inputs(target: Path, files: dict[str, Path | str], hyper: dict[str, Any], settings: dict[str, Any]) -> None:
    if target.is_dir():
        return
    with atomic_dir(target) as scratch:
        for name in ("corpus", "examples", "base"):
            copy = shutil.copytree if Path(files[name]).is_dir() else shutil.copyfile
            copy(files[name], scratch / name)
        (scratch / "hyperparameters").write_text(json.dumps(hyper))
        (scratch / "settings").write_text(json.dumps(settings))


class Jobs:
    """One TrainJob in ``SLUICE_NAMESPACE`` (default: the client's own), through the Kubeflow SDK."""

    def __init__(self, name: str) -> None:
        """Connect, by the kubeconfig or the pod's service account; `SluiceError` where there is neither."""
        from kubeflow.trainer import KubernetesBackendConfig, TrainerClient
        from kubernetes import client, config

        self.name = name
        try:
            told = {"namespace": os.environ.get("SLUICE_NAMESPACE"), "config_file": os.environ.get("KUBECONFIG")}
            self.sdk = TrainerClient(KubernetesBackendConfig(**told))
        except config.ConfigException as error:
            raise SluiceError(f"train: nodes > 1 needs a cluster ({error}); set KUBECONFIG, or nodes to 1") from error
        self.api = client.CustomObjectsApi()
        self.place = {**GROUP, "namespace": self.sdk.backend.namespace}

    def state(self, patient: bool = False) -> tuple[str, str]:
        """Complete, Failed or Running with the condition's message; "" if there is no such job.

        ``patient``: an API server that does not answer for a while means Running, not an error.
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            job = self.api.get_namespaced_custom_object(**self.place, name=self.name)
        except (ApiException, HTTPError) as error:
            status = error.status if isinstance(error, ApiException) else 503
            if status == 404:
                return "", ""
            if patient and (status or 503) >= 500:
                return "Running", str(error)
            raise self._refused(error) from error
        for condition in job.get("status", {}).get("conditions", []):
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                return condition["type"], condition.get("message", "")
        return "Running", ""

    def submit(self, chosen: TrainSettings, folder: Path) -> None:
        """Create the job; one that another run of this step has just created is as good."""
        from kubeflow.trainer import CustomTrainerContainer
        from kubeflow.trainer.options import Labels, Name, TrainerCommand
        from kubernetes.client import ApiException

        trainer = CustomTrainerContainer(
            image=IMAGE,
            num_nodes=chosen.nodes,
            resources_per_node=dict(chosen.job.resources),
            env={"SLUICE_CHECKPOINTS": str(folder.parent), "SLUICE_HOME": "/tmp/sluice", "HOME": "/tmp"},
        )
        labels = Labels({"app.kubernetes.io/part-of": "sluice", "app.kubernetes.io/component": "training"})
        told = [Name(self.name), labels, TrainerCommand(command(chosen, folder)), volume(chosen.job.claim, folder)]
        try:
            self.sdk.train(runtime=chosen.job.runtime, trainer=trainer, options=told)
        except (RuntimeError, TimeoutError) as error:
            cause = error.__cause__
            if not (isinstance(cause, ApiException) and cause.status == 409):
                raise self._refused(cause or error) from error

    def delete(self) -> None:
        """Remove the job and wait until it is gone."""
        from kubernetes.client import ApiException

        try:
            self.api.delete_namespaced_custom_object(**self.place, name=self.name)
        except ApiException as error:
            if error.status != 404:
                raise self._refused(error) from error
        while self.state()[0]:
            time.sleep(min(1.0, POLL_S))

    def last_lines(self, count: int = 20) -> str:
        """The end of the leading node's log, as far as it can still be read."""
        try:
            return "\n".join(list(self.sdk.get_job_logs(self.name))[-count:])
        except Exception as error:  # the SDK raises many kinds, and the job's failure matters more
            return f"(not to be had: {error})"

    def _refused(self, error: BaseException) -> SluiceError:
        reason = getattr(error, "reason", None) or error
        if body := getattr(error, "body", None):
            reason = json.loads(body).get("message", reason) if str(body).startswith("{") else reason
        return SluiceError(
            f"TrainJob {self.place['namespace']}/{self.name}: the cluster refused or does not answer ({reason}); see "
            "that Kubeflow Trainer and its runtime are installed and the step's service account may create TrainJobs"
        )


def command(chosen: TrainSettings, folder: Path) -> list[str]:
    """What every node runs; torchrun takes its place among the nodes from the PET_* variables that Trainer sets."""
    told = ["python", "-m", "torch.distributed.run", f"--nproc-per-node={chosen.processes}", "-m", "components.train"]
    for name in ("corpus", "examples", "base", "hyperparameters", "settings"):
        told += [f"--{name}", str(folder / "inputs" / name)]
    return [*told, "--adapter", str(folder / "adapter"), "--history", str(folder / "history.html")]


def volume(claim: str, folder: Path) -> Any:
    """The patch that gives the runtime's nodes the shared volume and what Pod Security "restricted" asks."""
    from kubeflow.trainer import options as o

    mount = [{"name": "shared", "mountPath": str(folder.parent)}, {"name": "scratch", "mountPath": "/tmp"}]
    pod = o.PodSpecPatch(
        volumes=[
            {"name": "shared", "persistentVolumeClaim": {"claimName": claim}},
            {"name": "scratch", "emptyDir": {}},
        ],
        containers=[o.ContainerPatch("node", volume_mounts=mount, security_context=RESTRICTED)],
        security_context={"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001,
                          "seccompProfile": {"type": "RuntimeDefault"}},
    )  # fmt: skip
    labels = {"labels": {"app.kubernetes.io/part-of": "sluice", "app.kubernetes.io/component": "training"}}
    job = o.JobTemplatePatch(spec=o.JobSpecPatch(template=o.PodTemplatePatch(metadata=labels, spec=pod)))
    jobs = o.JobSetSpecPatch(replicated_jobs=[o.ReplicatedJobPatch("node", template=job)])
    return o.RuntimePatch(o.TrainingRuntimeSpecPatch(template=o.JobSetTemplatePatch(spec=jobs)))
