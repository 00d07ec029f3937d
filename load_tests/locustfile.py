"""Users of a question-answering endpoint, by persona.

``locust -f load_tests/locustfile.py --host URL`` opens Locust's own page. `load_tests.run` starts this file headless
with a plan (JSON, named by ``$SLUICE_LOAD_PLAN``): targets, questions, where samples go. Without a plan the
personas ask the project's own questions and think between them.
"""

import csv
import json
import random
import time
from typing import Any

import gevent  # type: ignore[import-untyped]
from locust import FastHttpUser, events, task

from load_tests.plan import COLUMNS, PERSONAS, Plan, is_correct, shape_error

PLAN = Plan.from_environment()


class Recorder:
    """Collects one row a request and writes them in batches, so that no request waits for the disk."""

    def __init__(self, path: str) -> None:
        """Open ``path`` and write the header."""
        self.rows: list[list[object]] = []
        self.stream = open(path, "w", newline="")  # noqa: SIM115  closed when Locust quits
        self.writer = csv.writer(self.stream)
        self.writer.writerow(COLUMNS)
        gevent.spawn(self.run)

    def run(self) -> None:
        """Write what has gathered, twice a second."""
        while True:
            gevent.sleep(0.5)
            self.flush()

    def flush(self) -> None:
        """Write what has gathered now."""
        rows, self.rows = self.rows, []
        self.writer.writerows(rows)
        self.stream.flush()

    def record(self, response_time: float, response: Any, exception: Exception | None, context: Any, **_: Any) -> None:
        """Locust's request event: turn one request into one row."""
        status = int(response.status_code or 0)
        body = _body(response) if 200 <= status < 300 else None
        wrong = "" if not 200 <= status < 300 else shape_error(body)
        correct = "" if body is None or wrong else is_correct(body, context["gold_paths"])
        error = str(exception or wrong).replace("\n", " ")[:200]
        revision = (response.headers or {}).get("x-sluice-revision", "") if status else ""
        row = [time.time(), round(response_time, 3), status, context["target"], revision or "", context["persona"]]
        self.rows.append([*row, context["question_id"], "" if correct is None else correct, error])


def _body(response: Any) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, TypeError):
        return None


if PLAN.out:
    recorder = Recorder(PLAN.out)
    events.request.add_listener(recorder.record)
    events.quitting.add_listener(lambda **_: recorder.flush())


class Persona(FastHttpUser):
    """One user: asks one of the persona's questions, waits as the persona does (or as the rate says), asks again."""

    abstract = True
    persona = ""
    target = ""
    pace: float | None = None
    network_timeout = PLAN.timeout_s
    connection_timeout = PLAN.timeout_s
    started = 0

    def on_start(self) -> None:
        """Choose the persona's questions; spread a class's users over one period, or they would ask all at once."""
        own = [q for q in PLAN.questions if q.get("persona") == self.persona] or PLAN.questions
        self.questions = random.sample(own, len(own))
        self.asked = 0
        self.due = time.monotonic()
        if self.pace and self.fixed_count:
            kind = type(self)
            self.due += self.pace * (kind.started % self.fixed_count + random.random()) / self.fixed_count
            kind.started += 1
            gevent.sleep(self.due - time.monotonic())

    def wait_time(self) -> float:
        """Seconds to the next question: the rest of the pace (constant_throughput without its drift), or thinking."""
        if self.pace is None:
            return random.uniform(*PERSONAS[self.persona].think_s)
        self.due = max(self.due + self.pace, time.monotonic() - self.pace)
        return max(0.0, self.due - time.monotonic())

    @task
    def ask(self) -> None:
        """Post one question to the v1 route."""
        question = self.questions[self.asked % len(self.questions)]
        self.asked += 1
        instance = {"question": question["question"], "top_k": PERSONAS[self.persona].top_k}
        context = {
            "target": self.target,
            "persona": self.persona,
            "question_id": question.get("question_id", ""),
            "gold_paths": question.get("gold_paths") or [],
        }
        path = f"/v1/models/{PLAN.model}:predict"
        self.client.post(path, json={"instances": [instance]}, name=f"{self.target} {self.persona}", context=context)


def _user_classes() -> dict[str, type[Persona]]:
    """One class per persona and target: Locust then keeps the count of each exactly."""
    classes = {}
    for target in PLAN.targets:
        for persona, (count, pace) in target.crew().items():
            name = f"{persona}_{target.name}".replace("-", "_")
            fields = {"persona": persona, "target": target.name, "pace": pace, "abstract": False}
            host = {"host": target.host} if target.host else {}
            exact = {"fixed_count": count} if count else {"weight": PERSONAS[persona].users}
            classes[name] = type(name, (Persona,), {**fields, **host, **exact})
    return classes


globals().update(_user_classes())
