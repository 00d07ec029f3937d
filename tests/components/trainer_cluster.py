"""An API server that takes TrainJobs from the real client, checks them strictly, and runs their nodes as processes."""

import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
from engines import free_port

API = "/apis/trainer.kubeflow.org/v1alpha1"
RUNTIME = {
    "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "ClusterTrainingRuntime",
    "metadata": {"name": "torch-distributed", "labels": {"trainer.kubeflow.org/framework": "torch"}},
    "spec": {"mlPolicy": {"numNodes": 1, "torch": {"numProcPerNode": "auto"}}, "template": {"spec": {"replicatedJobs": [
        {"name": "node", "template": {
            "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
            "spec": {"template": {"spec": {"containers": [{"name": "node", "image": "pytorch/pytorch"}]}}}}}]}}},
}  # fmt: skip


class Cluster:
    """TrainJobs by name, in one namespace; ``requests`` are the methods and paths asked for."""

    def __init__(self, logs: Path) -> None:
        self.logs, self.jobs, self.nodes = logs, {}, []
        self.requests: list[tuple[str, str]] = []
        self.refuse = ""

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.requests.append((method, path))
        jobs, name = f"{API}/namespaces/room/trainjobs", path.rpartition("/")[2]
        if path == f"{API}/clustertrainingruntimes/torch-distributed":
            return 200, RUNTIME
        if path == jobs and method == "POST":
            if self.refuse:
                return 403, {"kind": "Status", "message": self.refuse}
            if body["metadata"]["name"] in self.jobs:
                return 409, {"kind": "Status", "message": "already exists"}
            from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob

            assert TrainerV1alpha1TrainJob.from_dict(body).to_dict() == body, "a field that TrainJob does not have"
            self.jobs[body["metadata"]["name"]] = body
            self.start(body)
            return 201, body
        if path.startswith(jobs) and name in self.jobs:
            return (200, self.jobs.pop(name)) if method == "DELETE" else (200, self.jobs[name])
        return 404, {"kind": "Status", "message": f"no {path}"}

    def start(self, job: dict[str, Any]) -> None:
        """As Trainer's torch plugin: every node runs the command with PET_* variables (its v2 torch.go)."""
        trainer, port = job["spec"]["trainer"], free_port()
        own = {e["name"]: e["value"] for e in trainer["env"]} | {"PET_NNODES": str(trainer["numNodes"])}
        own |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port), "PET_NPROC_PER_NODE": "auto"}
        assert trainer["command"][0] == "python"
        self.nodes = []
        for rank in range(trainer["numNodes"]):
            env = {**os.environ, **own, "PET_NODE_RANK": str(rank), "OMP_NUM_THREADS": "1"}
            with (self.logs / f"{len(self.requests)}-{rank}.log").open("w") as log:
                self.nodes.append(
                    subprocess.Popen([sys.executable, *trainer["command"][1:]], env=env, stdout=log, stderr=log)
                )  # fmt: skip
        threading.Thread(target=self.follow, args=(job, self.nodes), daemon=True).start()

    def follow(self, job: dict[str, Any], nodes: list[subprocess.Popen]) -> None:
        codes = [node.wait() for node in nodes]
        kind = "Failed" if any(codes) else "Complete"
        said = {"type": kind, "status": "True", "message": f"exit codes {codes}", "reason": kind}
        job["status"] = {"conditions": [{**said, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}

    def kill(self) -> None:
        """Every process of every node at once, as when machines go; torchrun gives each rank a session of its own."""
        family = [psutil.Process(node.pid) for node in self.nodes if node.poll() is None]
        for process in [*(child for node in family for child in node.children(recursive=True)), *family]:
            process.kill()


@contextmanager
def trainer_cluster(folder: Path):
    cluster = Cluster(folder)

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            code, said = cluster.answer(self.command, self.path.partition("?")[0], body)
            data = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        context = {"name": "it", "context": {"cluster": "it", "user": "it", "namespace": "room"}}
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "it", "contexts": [context],
                  "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
                  "users": [{"name": "it", "user": {"token": "t"}}]}  # fmt: skip
        (folder / "kubeconfig").write_text(json.dumps(config))
        try:
            yield cluster
        finally:
            cluster.kill()
            server.shutdown()
