"""Kubeflow Pipelines' API server as far as the exporter asks it: lists of runs and of experiments."""

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

DAY = "2026-03-01T%02d:00:00Z"


def run(hour: int, state: str, experiment: str = "e1", ended: bool = True) -> dict[str, Any]:
    times = {"created_at": DAY % hour} | ({"finished_at": DAY % (hour + 1)} if ended else {})
    return {"run_id": f"r{hour}", "experiment_id": experiment, "state": state, **times}


class KubeflowAPI(BaseHTTPRequestHandler):
    """Lists of runs and experiments in the shape of Kubeflow Pipelines' v2beta1 API."""

    runs: list[dict[str, Any]] = []
    asked: list[tuple[str, str]] = []

    def do_GET(self) -> None:
        self.asked.append((self.path, self.headers.get("authorization", "")))
        experiments = [{"experiment_id": "e1", "display_name": "codebase"}]
        found = {"runs": self.runs} if "/runs" in self.path else {"experiments": experiments}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass
