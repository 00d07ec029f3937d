"""Training on several nodes as a TrainJob: the real client, an API server of our own, the nodes real processes."""

import json
import threading

import numpy as np
import pytest
from engines import wait_for
from tiny_encoder import make_base, make_tables
from trainer_cluster import trainer_cluster

from components.train import trainjob
from components.train.run import train
from serving.contract.errors import SluiceError

HYPER = {"rank": 4, "alpha": 8, "learning_rate": 0.01, "batch": 8, "precision": "fp32", "dropout": 0.0}
SETTINGS = {"epochs": 40, "max_tokens": 32, "evaluations": 2, "checkpoint_every": 2, "eval_passages": 0}
NODES = {"nodes": 2, "job": {"resources": {"cpu": "2", "memory": "4Gi", "gpu": "1"}, "claim": "shared"}}

pytestmark = pytest.mark.filterwarnings("ignore:Support for class-based `config`:DeprecationWarning")  # the SDK's own


@pytest.fixture
def room(tmp_path, monkeypatch):
    monkeypatch.setenv("SLUICE_CHECKPOINTS", str(tmp_path / "shared"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("SLUICE_NAMESPACE", "room")
    monkeypatch.setattr(trainjob, "POLL_S", 0.05)
    passages, questions = make_tables(tmp_path)
    return {"corpus": passages, "examples": questions, "base": make_base(tmp_path)}


def run(room, target, **settings):
    told = {"hyperparameters": HYPER, "settings": {**SETTINGS, **settings}}
    return train(**room, **told, adapter=target, history=f"{target}.html")


@pytest.mark.e2e
def test_a_job_killed_with_all_its_nodes_goes_on_from_its_checkpoint_and_learns_what_one_process_learns(room, tmp_path):
    with trainer_cluster(tmp_path) as cluster:
        failures = []

        def first() -> None:
            try:
                run(room, tmp_path / "two", **NODES)
            except SluiceError as error:
                failures.append(str(error))

        attempt = threading.Thread(target=first)
        attempt.start()
        wait_for(lambda: list((tmp_path / "shared").glob("*/state.pt")), seconds=180)
        cluster.kill()
        attempt.join(60)
        assert len(failures) == 1 and "failed: exit codes [-9, -9]" in failures[0]
        assert not (tmp_path / "two").exists()
        two = run(room, tmp_path / "two", **NODES)
        resumed = [log.name for log in tmp_path.glob("*-0.log") if "resumed at step" in log.read_text()]
        assert len(resumed) == 1
        posts = [path for method, path in cluster.requests if method == "POST"]
        assert len(posts) == 2 and sum(method == "DELETE" for method, _ in cluster.requests) == 1
    assert not list((tmp_path / "shared").iterdir())
    one = run(room, tmp_path / "one")
    losses = [[row["loss"] for row in json.loads((tmp_path / n / "training.json").read_text())["steps"]]
              for n in ("one", "two")]  # fmt: skip
    assert len(losses[0]) == len(losses[1]) and np.allclose(losses[0][:10], losses[1][:10], atol=1e-2)
    assert two["steps"] == one["steps"] and "<svg" in (tmp_path / "two.html").read_text()


def test_the_job_names_image_nodes_resources_and_volume_and_a_refusal_is_one_sentence(room, tmp_path, monkeypatch):
    with trainer_cluster(tmp_path) as cluster:
        monkeypatch.setattr(cluster, "start", lambda job: cluster.follow(job, []))
        with pytest.raises(SluiceError, match=r"is complete, but .* has no adapter; is train\.job\.claim \(shared\)"):
            run(room, tmp_path / "out", **NODES)
        (job,) = cluster.jobs.values()
        trainer, (patch,) = job["spec"]["trainer"], job["spec"]["runtimePatches"]
        assert trainer["numNodes"] == 2 and trainer["image"] == trainjob.IMAGE
        assert trainer["resourcesPerNode"]["limits"] == {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": "1"}
        assert "components.train" in trainer["command"] and "--nproc-per-node=1" in trainer["command"]
        (node,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        pod = node["template"]["spec"]["template"]["spec"]
        assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == "shared"
        assert pod["containers"][0]["volumeMounts"][0]["mountPath"] == str(tmp_path / "shared")
        assert pod["securityContext"]["runAsNonRoot"] is True
        cluster.jobs.clear()
        cluster.refuse = "trainjobs is forbidden"
        with pytest.raises(SluiceError, match=r"TrainJob room/sluice-train-\w+: the cluster refused .*\(trainjobs is"):
            run(room, tmp_path / "out", **NODES)
    with pytest.raises(SluiceError, match="does not answer"):
        run(room, tmp_path / "out", **NODES)


def test_several_nodes_need_a_shared_volume_and_a_cluster(room, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(SluiceError, match="needs a cluster"):
        run(room, tmp_path / "out", **NODES)
    monkeypatch.delenv("SLUICE_CHECKPOINTS")
    with pytest.raises(SluiceError, match="needs SLUICE_CHECKPOINTS"):
        run(room, tmp_path / "out", **NODES)
