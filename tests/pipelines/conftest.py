"""A small server that keeps what the real Kubeflow Pipelines client sends it, and answers as the API of KFP does."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipelines.cluster import read_cluster
from pipelines.compiling import Compiled, compile_system

API = "/apis/v2beta1"


@dataclass
class Recorder:
    """What was asked (method, path, query, body, token), what is kept, and how runs end."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    kept: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    health: dict[str, Any] = field(default_factory=lambda: {"multi_user": False})

    def sent(self, method: str, path: str) -> list[dict[str, Any]]:
        return [one for one in self.asked if (one["method"], one["path"]) == (method, path)]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if path == "/healthz":
            return self.health
        if re.fullmatch("/runs/run-1", path):  # the last state stays
            return self.runs.pop(0) if len(self.runs) > 1 else self.runs[0]
        if path == "/pipelines/upload_version":
            kind, body = "pipeline_version", {"display_name": query["name"], "pipeline_id": query["pipelineid"]}
        else:
            kind = re.sub(r"^.*/", "", path).rstrip("s").replace("version", "pipeline_version")
            kind = {"recurringrun": "recurring_run"}.get(kind, kind)
        if method == "DELETE":
            return {}
        have = self.kept.setdefault(kind, [])
        if method == "POST":
            have.append({**body, f"{kind}_id": f"{kind.split('_')[0]}-{len(have) + 1}"})
            return have[-1]
        (wanted,) = json.loads(query["filter"])["predicates"]
        many = {"recurring_run": "recurringRuns"}.get(kind, f"{kind}s")
        return {many: [one for one in have if one[wanted["key"]] == wanted["stringValue"]]}


def _handler(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            place = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(place.query).items()}
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path, kind = place.path.removeprefix(API), self.headers.get("Content-Type") or ""
            body: Any = json.loads(raw) if raw and "json" in kind else raw
            if kind.startswith("multipart"):
                (part,) = message_from_bytes(b"Content-Type: " + kind.encode() + b"\n\n" + raw).get_payload()
                body = part.get_payload(decode=True).decode()  # type: ignore[union-attr]
            token = self.headers.get("Authorization")
            recorder.asked.append({"method": self.command, "path": path, "query": query, "body": body, "token": token})
            found = {"message": "no"} if recorder.status != 200 else recorder.answer(self.command, path, query, body)
            answer = json.dumps(found).encode()
            self.send_response(found.get("http", recorder.status))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_DELETE = do

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@pytest.fixture
def kfp_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """A recording KFP that KFP_HOST and KFP_TOKEN name."""
    recorder = Recorder()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(recorder))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    recorder.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("KFP_HOST", recorder.url)
    monkeypatch.setenv("KFP_TOKEN", "secret")
    yield recorder
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """`codebase`, compiled for a cluster with the project's own settings. Read-only."""
    return compile_system("codebase", tmp_path_factory.mktemp("compiled") / "codebase.yaml", read_cluster())
