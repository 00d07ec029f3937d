"""A task that nobody lists, beside the house on the path: its route, flag, figure, features and votes are served."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from threaded import free_port

from serving.contract.errors import SluiceError
from serving.contract.task import find_task

SHELF = """
from dataclasses import dataclass
from serving.contract.task import EntityFeatures, Remembered, Route, Task, limit


@dataclass(frozen=True)
class Own:
    most: int = limit(3, "--max-films", "films of one answer")


class Shelf(Task):
    name, routes, limits = "shelf", (Route("/openai/v1/chat/completions", "chat", peers=True),), Own
    features = (EntityFeatures("films_v1", "film_id", numbers=("shown", "up", "down")),)

    def open(self, directory, bundle, variant, threads):
        from serving.shelf.model import Films
        return Films(bundle)

    def service(self, model):
        from serving.shelf.model import ShelfService
        return ShelfService(model)

    def remember(self, instance, result):
        return Remembered(asked=instance["user"], entity="film_id", items=result["films"])


TASK = Shelf()
"""
MODEL = """
import asyncio, json
from prometheus_client import Counter
from serving.core.schema import Reader
from serving.core.service import Service


class Films:
    def __init__(self, bundle):
        self.bundle, self.parse = bundle, Reader(bundle.inputs).read

    def warm(self): pass

    def close(self): pass

    def predict(self, instances):
        return [{"films": [f"{one['user']}-{n}" for n in range(self.bundle.spec["films"])]} for one in instances]


class ShelfService(Service):
    def __init__(self, model):
        super().__init__(model)
        self.routes["/openai/v1/chat/completions"] = self.chat
        self.words = model.metrics.make(Counter, "sluice_words", "Words said")

    async def answer(self, instances):
        return [{"films": one["films"][: self.model.own.most]} for one in await super().answer(instances)]

    async def chat(self, scope, receive, send):
        said = json.loads((await receive())["body"])["messages"][-1]["content"]
        (instance,) = [await self.parse({"user": said})]
        (result,) = self.model.sign([instance], await self.answer([instance]), [""])
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for film in result["films"]:
            self.words.inc()
            await send({"type": "http.response.body", "body": f"data: {film}\\n\\n".encode(), "more_body": True})
        await send({"type": "http.response.body", "body": f"data: {result['request_id']}\\n\\n".encode()})
"""
BUNDLE = {
    "system": "films", "task": "shelf", "base_model": "none", "lineage": {"data": "d"}, "outputs": {},
    "spec": {"films": 9},
    "inputs": {"type": "object", "properties": {"user": {"type": "string", "minLength": 1}}, "required": ["user"]},
    "variants": {"plain": {"file": "none", "bytes": 0}}, "variant": "plain",
}  # fmt: skip


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("shelf")
    (home / "serving" / "shelf").mkdir(parents=True)
    (home / "serving" / "shelf" / "__init__.py").write_text(SHELF)
    (home / "serving" / "shelf" / "model.py").write_text(MODEL)
    (home / "bundle.json").write_text(json.dumps(BUNDLE))
    port = free_port()
    command = [sys.executable, "-m", "serving", "--model-name", "films", "--model-dir", str(home), "--max-films", "2"]
    command += ["--host", "127.0.0.1", "--http-port", str(port), "--grpc-port", "0"]
    path = os.pathsep.join([str(Path(__file__).parents[2]), str(home)])
    environment = os.environ | {"SLUICE_HOME": str(home), "PYTHONPATH": path}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        while True:
            assert process.poll() is None
            try:
                if client.get("/v2/models/films/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.05)
        yield client
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def figure(client: httpx.Client, name: str) -> float:
    return float(next(line for line in client.get("/metrics").text.splitlines() if line.startswith(name)).split()[-1])


def test_its_route_streams_and_its_answer_can_be_voted_on(client: httpx.Client) -> None:
    body = {"messages": [{"role": "user", "content": "ada"}]}
    lines = client.post("/openai/v1/chat/completions", json=body).text.split()
    assert lines[1::2][:2] == ["ada-0", "ada-1"] and figure(client, "sluice_words_total") == 2
    vote = {"request_id": lines[-1], "vote": "up"}
    assert client.post("/feedback", json=vote).status_code == 200
    assert figure(client, 'sluice_requests_total{code="200",revision="local",route="chat"}') == 1
    refused = client.post("/openai/v1/chat/completions", json={"messages": [{"content": ""}]})
    assert refused.status_code == 400 and refused.json()["error"]["type"] == "invalid_request_error"


def test_it_answers_instances_within_its_own_limits(client: httpx.Client) -> None:
    answer = client.post("/v1/models/films:predict", json={"instances": [{"user": "bob"}]}).json()["predictions"][0]
    assert answer["films"] == ["bob-0", "bob-1"]
    about = client.get("/capabilities").json()
    assert (about["task"], about["limits"]["most"], about["limits"]["items"]) == ("shelf", 2, 128)


def test_what_other_tasks_offer_is_404_before_a_body_is_read(client: httpx.Client) -> None:
    for path in ("/openai/v1/audio/transcriptions", "/openai/v1/embeddings"):
        answer = client.post(path, content=b"x" * 3_000_000)
        assert answer.status_code == 404 and "task shelf" in answer.json()["error"]["message"]


def test_a_package_without_a_task_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import serving

    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "__init__.py").write_text("")
    monkeypatch.setattr(serving, "__path__", [*serving.__path__, str(tmp_path)])
    with pytest.raises(SluiceError, match="serving/empty: no TASK of that name"):
        find_task("empty")
    monkeypatch.delitem(sys.modules, "serving.empty")
    for name in ("core", "../empty", "serving.retrieval", ""):
        with pytest.raises(SluiceError, match="this version serves empty, highlights, retrieval"):
            find_task(name)
