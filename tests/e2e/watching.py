"""What `test_monitoring` watches and with what: revisions, users, the exporter, Prometheus, Alertmanager."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubeflow_runs import KubeflowAPI, run
from monitoring_files import RULES, alertmanager_config, plain, tool
from prometheus_client.parser import text_string_to_metric_families

from components.common import registry
from components.register import run as registering
from serving.contract.verdict import Verdict

PREDICT = "/v1/models/codebase:predict"
DAY = 86_400
GATES = [
    Verdict("data", True, "clean", {"passages_quarantined_share": 0.01, "passages": 80}),
    Verdict("quality", True, "better", {"difference": 0.07}),
]


class FeatureServer(BaseHTTPRequestHandler):
    """Feast's HTTP server of a store that knows no passage: values are null, pushes are taken."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        ids = asked.get("entities", {}).get("passage_id", [])
        results = [{"values": ids}, {"values": [None] * len(ids)}]
        body = json.dumps({"metadata": {"feature_names": ["passage_id", "up"]}, "results": results}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, true: Callable[[], Any], seconds: float = 90) -> Any:
    """What ``true`` gives as soon as it gives something; an error of HTTP counts as nothing."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if found := true():
                return found
        time.sleep(0.25)
    raise AssertionError(f"not within {seconds:.0f} s: {what}")


@contextlib.contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@contextlib.contextmanager
def process(log: Path, ready: str, *command: str | Path, **environment: str) -> Iterator[None]:
    """A process that answers at ``ready``, until the block ends."""
    with log.open("wb") as out:
        running = subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | environment)
    try:
        until(f"{ready} answers: {log}", lambda: running.poll() is None and httpx.get(ready).status_code == 200)
        yield
    finally:
        running.terminate()
        running.wait(30)


def ask(url: str, stop: threading.Event) -> None:
    """Users: questions of every length, embeddings, votes, and now and then what no server can answer."""
    with httpx.Client(base_url=url, timeout=30) as client:
        at = 0
        while not stop.is_set():
            at += 1
            question = "How is the level of a logger set? " * (1 + at % 9)
            answer = client.post(PREDICT, json={"instances": [{"question": question}]}).json()
            if at % 4 == 0:
                vote = {"request_id": answer["request_id"], "vote": "down" if at % 12 == 0 else "up"}
                client.post("/feedback", json=vote)
            if at % 5 == 0:
                client.post("/openai/v1/embeddings", json={"input": question, "model": "codebase"})
            if at % 7 == 0:
                client.post(PREDICT, content=b"{")
            time.sleep(0.02)


def busy_page(url: str) -> str:
    """The page of a server that has answered 90 questions, ten of each length; before that nothing."""
    page = httpx.get(f"{url}/metrics").text
    count = re.search(r"^sluice_input_characters_count\{.*\} ([0-9.]+)$", page, re.MULTILINE)
    return page if count and float(count[1]) >= 90 else ""


def history(page: str, labels: str) -> str:
    """The histograms of a server's page as they would have grown over the day that ended a week ago (OpenMetrics)."""
    start, steps = time.time() - 8 * DAY - 3600, 26 * 12
    lines = []
    for family in text_string_to_metric_families(page):
        if family.name in ("sluice_confidence", "sluice_input_characters"):
            for sample in family.samples:
                own = "".join(f',{name}="{value}"' for name, value in sample.labels.items())
                for step in range(steps):
                    value = sample.value * (step + 1)
                    lines.append(f"{sample.name}{{{labels}{own}}} {value} {start + 300 * step:.0f}")
    return "\n".join([*lines, "# EOF"]) + "\n"


@dataclass
class Watched:
    """Addresses of the two servers of what watches."""

    prometheus: str
    alertmanager: str

    def get(self, path: str, **parameters: Any) -> Any:
        answer = httpx.get(f"http://{self.prometheus}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


def target(url: str, job: str, pod: str, **labels: str) -> dict[str, Any]:
    """What the PodMonitors make of one pod."""
    static = {
        "targets": [url.removeprefix("http://")],
        "labels": {"namespace": "prod", "pod": pod, "job": job, **labels},
    }
    return {"job_name": pod, "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": [static]}


def configure(folder: Path, targets: list[dict[str, Any]], alertmanager: str) -> None:
    """The configuration and the rules as they are in the manifests, in a hurry: evaluated every 2 s."""
    for path in RULES:
        rules = plain(path)
        for group in rules["groups"]:
            group.pop("interval", None)
        (folder / path.name).write_text(yaml.safe_dump(rules))
    config = {
        "global": {"evaluation_interval": "2s"},
        "rule_files": [path.name for path in RULES],
        "scrape_configs": targets,
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager_config()))


@contextlib.contextmanager
def revision(number: int, bundle: Path, home: Path, features: str) -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "serving", "--model-name", "codebase", "--model-dir", str(bundle)]
    command += ["--host", "127.0.0.1", "--http-port", str(port), "--grpc-port", "0"]
    environment = {"K_REVISION": f"codebase-{number:05}", "SLUICE_HOME": str(home), "SLUICE_FEATURE_SERVER": features}
    url = f"http://127.0.0.1:{port}"
    with process(home / f"revision-{number}.log", f"{url}/v2/models/codebase/ready", *command, **environment):
        yield url


def register(bundle: Path) -> None:
    entry = registering.register("codebase", bundle, GATES)
    registry.promote("codebase", entry.version)
    registry.record("codebase", entry.version, [Verdict("canary", True, "no worse", {"p95_ms_canary": 9.0})])
    KubeflowAPI.runs = [run(11, "FAILED"), run(9, "SUCCEEDED")]


def start_sluice(stack: contextlib.ExitStack, bundle: Path, home: Path) -> tuple[list[str], str]:
    """Two revisions with users, a registry and the exporter: the revisions' URLs, and the exporter's."""
    stack.enter_context(pytest.MonkeyPatch.context()).setenv("SLUICE_HOME", str(home))
    register(bundle)
    features, kubeflow = (stack.enter_context(answering(api)) for api in (FeatureServer, KubeflowAPI))
    urls = [stack.enter_context(revision(number, bundle, home, features)) for number in (1, 2)]
    port, stop = free_port(), threading.Event()
    exporter = [sys.executable, "-m", "components.report.exporter", "--host", "127.0.0.1", "--port", str(port)]
    environment = {"KFP_HOST": kubeflow, "KFP_NAMESPACE": "prod", "HOME": str(home)}
    stack.enter_context(process(home / "exporter.log", f"http://127.0.0.1:{port}", *exporter, **environment))
    for user in (threading.Thread(target=ask, args=(url, stop)) for url in urls):
        user.start()
        stack.callback(user.join)
    stack.callback(stop.set)
    return urls, f"http://127.0.0.1:{port}"


def start_watchers(stack: contextlib.ExitStack, home: Path, targets: list[dict[str, Any]]) -> Watched:
    """Prometheus over ``home``/data and Alertmanager, as the manifests configure them."""
    found = Watched(*(f"127.0.0.1:{free_port()}" for _ in range(2)))
    configure(home, targets, found.alertmanager)
    prometheus = [f"--config.file={home}/prometheus.yml", f"--storage.tsdb.path={home}/data"]
    alertmanager = [f"--config.file={home}/alertmanager.yml", f"--storage.path={home}/alerts"]
    alertmanager.append("--cluster.listen-address=")
    for name, address, flags in (
        ("prometheus-alertmanager", found.alertmanager, alertmanager),
        ("prometheus", found.prometheus, prometheus),
    ):
        command = [tool(name), *flags, f"--web.listen-address={address}"]
        stack.enter_context(process(home / f"{name}.log", f"http://{address}/-/ready", *command))
    return found
