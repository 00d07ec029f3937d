"""A control plane as a process of its own, and its clients' view of it."""

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
from kubernetes import client, config

from serving.laptop import process

GROUP, ISVC, RUNTIMES = "serving.kserve.io", ("v1beta1", "default", "inferenceservices"), ("v1alpha1", "default")
GRAPHS = (*RUNTIMES, "inferencegraphs")
NUMBERS = itertools.count(1)


class Laptop:
    def __init__(self, home: Path, port_base: int):
        self.home, self.port_base = home, port_base
        self.start()

    def start(self):
        self.process = process.start(self.home, self.port_base)
        self.info = process.wait_until_up(self.home, 20, self.process)
        config.load_kube_config(str(self.info.kubeconfig))
        self.api = client.CustomObjectsApi()

    def stop(self, sign=signal.SIGTERM):
        self.process.send_signal(sign)
        return self.process.wait(20)

    def model(self, answer: str) -> str:
        path = self.home / f"model-{next(NUMBERS)}"
        path.mkdir()
        (path / "answer.txt").write_text(answer)
        return f"file://{path}"

    def create(self, name: str, uri: str) -> str:
        """Deploy, wait until ready, return the URL."""
        self.api.create_namespaced_custom_object(GROUP, *ISVC, service(name, uri))
        return self.wait(name, "Ready", "True")["url"]

    def patch(self, name: str, **predictor) -> dict:
        body = {"spec": {"predictor": predictor}}
        return self.api.patch_namespaced_custom_object(GROUP, *ISVC, name, body)

    def annotate(self, name: str, **notes):
        body = {
            "metadata": {"annotations": {f"serving.knative.dev/{k.replace('_', '-')}": v for k, v in notes.items()}}
        }
        self.api.patch_namespaced_custom_object(GROUP, *ISVC, name, body)

    def status(self, name: str) -> dict:
        return self.api.get_namespaced_custom_object(GROUP, *ISVC, name)["status"]

    def shares(self, name: str) -> dict[str, int]:
        """Percent by revision number, as the status says."""
        traffic = self.status(name)["components"]["predictor"]["traffic"]
        return {t["revisionName"].removeprefix(f"{name}-predictor-"): t["percent"] for t in traffic}

    def addresses(self, name: str) -> dict[str, str]:
        """The revisions' own addresses by tag."""
        return {t["tag"]: t["url"] for t in self.status(name)["components"]["predictor"]["traffic"]}

    def wait(self, name: str, kind: str, wanted: str) -> dict:
        return wait_for(lambda: (s := self.status(name)) and condition(s, kind)["status"] == wanted and s)

    def delete_all(self):
        for item in self.api.list_namespaced_custom_object(GROUP, *ISVC)["items"]:
            self.api.delete_namespaced_custom_object(GROUP, *ISVC, item["metadata"]["name"])


def run_laptop(home: Path, port_base: int) -> Iterator[Laptop]:
    """A control plane with a ServingRuntime for the tiny model."""
    there = Laptop(home, port_base)
    container = {
        "name": "kserve-container",
        "image": "tiny:1",
        "command": ["python", str(Path(__file__).with_name("tiny_model.py"))],
        "args": ["--model-dir=/mnt/models", "--http-port=8080"],
        "readinessProbe": {
            "httpGet": {"path": "/v2/models/{{.Name}}/ready", "port": 8080},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
        },
    }
    runtime = {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "tiny"},
        "spec": {"supportedModelFormats": [{"name": "tiny"}], "containers": [container]},
    }
    try:
        there.api.create_namespaced_custom_object(GROUP, *RUNTIMES, "servingruntimes", runtime)
        yield there
    finally:
        there.stop()


def wait_for(check, seconds=30):
    until = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.03)
    return found


def condition(status: dict, kind: str) -> dict:
    return next(c for c in status["conditions"] if c["type"] == kind)


def service(name: str, uri: str) -> dict:
    model = {"modelFormat": {"name": "tiny"}, "runtime": "tiny", "storageUri": uri}
    return {
        "apiVersion": f"{GROUP}/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "annotations": {"serving.kserve.io/enable-tag-routing": "true"}},
        "spec": {"predictor": {"model": model}},
    }


async def load(url: str, seconds: float = 0, count: int = 0) -> Counter:
    """Answers by (status, revision number) of eight clients that ask without a pause, for a time or a number."""
    seen: Counter = Counter()
    until = time.monotonic() + seconds

    async def ask(session):
        while seen.total() < count if count else time.monotonic() < until:
            async with session.post(f"{url}/predict", data=b"{}") as answer:
                await answer.read()
                seen[answer.status, answer.headers["x-sluice-revision"][-1]] += 1

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*[ask(session) for _ in range(8)])
    return seen


def ask(url: str, path: str = "/predict", data=b"{}") -> tuple[int, dict, dict]:
    """One request: status, JSON body, headers."""

    async def post():
        async with aiohttp.ClientSession() as session, session.post(url + path, data=data) as answer:
            return answer.status, await answer.json(content_type=None), answer.headers

    return asyncio.run(post())
