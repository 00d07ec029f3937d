"""Users of an endpoint, by persona where the request rows name one.

``SLUICE_MODEL=NAME locust -f load_tests/locustfile.py --host URL`` opens Locust's own page. `load_tests.run` starts
this file headless with a plan (JSON, named by ``$SLUICE_LOAD_PLAN``): targets, request rows, where samples go. Without
a plan the personas ask the model's own questions and think between them.
"""

import csv
import functools
import json
import random
import time
from typing import Any

import gevent  # type: ignore[import-untyped]
from locust import FastHttpUser, events, task

from load_tests.asked import is_correct
from load_tests.plan import COLUMNS, LoadPlan, kinds_of
from load_tests.protocols import PROTOCOLS, Request, headers, request_of

PLAN = LoadPlan.from_environment()
KINDS = kinds_of(PLAN.asked)


class Recorder:
    """Collects one row a request and writes them in batches, so that no request waits for the disk."""

    def __init__(self, path: str) -> None:
        """Open ``path`` and write the header."""
        self.rows: list[list[object]] = []
        self.runner: Any = None
        self.began = False
        self.stream = open(path, "w", newline="")  # noqa: SIM115  closed when Locust quits
        self.writer = csv.writer(self.stream)
        self.writer.writerow(COLUMNS)
        gevent.spawn(self.run)

    def opened(self, environment: Any, **_: Any) -> None:
        """Locust's init event: keep what can end the window."""
        self.runner = environment.runner

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
        """Locust's request event: turn one request into one row. The first one opens the window, however late."""
        if not self.began:
            self.began = True
            gevent.spawn_later(PLAN.seconds, self.runner.quit)
        status = int(response.status_code or 0)
        body = _body(response) if 200 <= status < 300 else None
        said, wrong = PROTOCOLS[PLAN.protocol].answer(body) if 200 <= status < 300 else (None, "")
        row = context["row"]
        correct = "" if said is None else is_correct(row["task"], said, row["expect"])
        error = str(exception or wrong).replace("\n", " ")[:200]
        revision = (response.headers or {}).get("x-sluice-revision", "") if status else ""
        sample = [time.time(), round(response_time, 3), status, context["target"], revision or "", context["persona"]]
        about = [row["id"], row["task"], row["units"], "" if correct is None else correct, error]
        self.rows.append([*sample, *about])


def _body(response: Any) -> Any:
    try:
        return json.loads(response.content)
    except (ValueError, TypeError):
        return None


if PLAN.out:
    recorder = Recorder(PLAN.out)
    events.request.add_listener(recorder.record)
    events.init.add_listener(recorder.opened)
    events.quitting.add_listener(lambda **_: recorder.flush())


class Persona(FastHttpUser):
    """One user: sends one of the persona's requests, waits as the persona does (or as the rate says), sends another."""

    abstract = True
    persona = ""
    target = ""
    pace: float | None = None
    network_timeout = PLAN.timeout_s
    connection_timeout = PLAN.timeout_s
    started = 0

    def on_start(self) -> None:
        """Choose the persona's rows; spread a class's users over one period, or they would ask all at once."""
        own = [at for at, row in enumerate(PLAN.asked) if row["persona"] == self.persona] or range(len(PLAN.asked))
        self.rows = random.sample(own, len(own))
        self.asked = 0
        self.due = time.monotonic()
        if self.pace and self.fixed_count:
            kind = type(self)
            self.due += self.pace * (kind.started % self.fixed_count + random.random()) / self.fixed_count
            kind.started += 1
            gevent.sleep(self.due - time.monotonic())

    def wait_time(self) -> float:
        """Seconds to the next request: the rest of the pace (constant_throughput without its drift), or thinking."""
        if self.pace is None:
            return random.uniform(*KINDS[self.persona].think_s)
        self.due = max(self.due + self.pace, time.monotonic() - self.pace)
        return max(0.0, self.due - time.monotonic())

    @task
    def ask(self) -> None:
        """Post one request."""
        at = self.rows[self.asked % len(self.rows)]
        self.asked += 1
        context = {"target": self.target, "persona": self.persona, "row": PLAN.asked[at]}
        name = f"{self.target} {self.persona}".strip()
        request = made(at, self.persona)
        sent = {"Content-Type": request.content_type} | HEADERS
        self.client.post(request.path, data=request.body, headers=sent, name=name, context=context)


HEADERS = headers()


@functools.cache
def made(at: int, persona: str) -> Request:
    """Request row number ``at`` as a persona sends it; made once, since a recording is no small one."""
    return request_of(PLAN.asked[at], PLAN.protocol, PLAN.model, PLAN.path, KINDS[persona].adds)


def _user_classes() -> dict[str, type[Persona]]:
    """One class per persona and target: Locust then keeps the count of each exactly."""
    classes = {}
    for target in PLAN.targets:
        for persona, (count, pace) in target.crew(KINDS).items():
            name = f"{persona or 'user'}_{target.name}".replace("-", "_")
            fields = {"persona": persona, "target": target.name, "pace": pace, "abstract": False}
            host = {"host": target.host} if target.host else {}
            exact = {"fixed_count": count} if count else {"weight": KINDS[persona].users}
            classes[name] = type(name, (Persona,), {**fields, **host, **exact})
    return classes


globals().update(_user_classes())
