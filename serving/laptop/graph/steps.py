"""The four kinds of nodes, as KServe's router walks them: what is asked of whom, and which answer comes back.

Source: cmd/router/main.go in github.com/kserve/kserve, release 0.21.
"""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving.laptop.graph.body import Body
from serving.laptop.graph.condition import exists

Step = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a step said: status, body, and the headers worth passing on."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """2xx."""
        return 200 <= self.status <= 299


class Unroutable(Exception):
    """The graph itself has no answer: a service that cannot be reached, a Switch where nothing fits."""

    def __init__(self, status: int, cause: str):
        super().__init__(cause)
        self.status, self.cause = status, cause


Call = Callable[[Step, Body], Awaitable[Answer]]


class Walk:
    """One request's way through a graph; ``call`` asks a service, and raises `Unroutable` when it gets no answer."""

    def __init__(self, nodes: Mapping[str, Any], call: Call):
        self._nodes, self._call = nodes, call

    async def node(self, name: str, body: Body) -> Answer:
        """Answer ``body`` by the node ``name``."""
        steps = self._nodes[name]["steps"]
        kind = self._nodes[name]["routerType"]
        if kind == "Sequence":
            return await self._sequence(steps, body)
        if kind == "Ensemble":
            return await self._ensemble(steps, body)
        if kind == "Splitter":
            (chosen,) = random.choices(steps, weights=[step["weight"] for step in steps])
            return await self._step(chosen, body)
        return await self._switch(steps, body)

    async def _step(self, step: Step, body: Body) -> Answer:
        if step.get("nodeName"):
            return await self.node(step["nodeName"], body)
        return await self._call(step, body)

    async def _sequence(self, steps: list[Step], body: Body) -> Answer:
        """Step by step; a step whose condition does not hold ends it with the answer so far, so does a Hard failure."""
        answer: Answer | None = None
        for step in steps:
            if step.get("condition"):
                document = _json(answer.body if answer else b"")
                if document is None or answer is None:
                    raise Unroutable(500, "invalid response")
                if not exists(document, step["condition"]):
                    return answer
            given = Body.of(answer.body) if step.get("data") == "$response" and answer else body
            answer = await self._step(step, renamed(given) if step.get("mapPredictionsToInstances") else given)
            if step.get("dependency") == "Hard" and not answer.good:
                return answer
        assert answer is not None  # validated: a node has steps
        return answer

    async def _ensemble(self, steps: list[Step], body: Body) -> Answer:
        """All at once; the answers by step name (or number), unless a Hard one failed: then that answer alone."""
        answers = await asyncio.gather(*(self._step(step, body) for step in steps))
        merged: dict[str, Any] = {}
        for number, (step, answer) in enumerate(zip(steps, answers, strict=True)):
            if step.get("dependency") == "Hard" and not answer.good:
                return answer
            document = _json(answer.body)
            if not isinstance(document, dict):
                raise Unroutable(500, f"the answer of step {step.get('name') or number} is no JSON object")
            merged[step.get("name") or str(number)] = document
        return Answer(200, json.dumps(merged).encode(), {"Content-Type": "application/json"})

    async def _switch(self, steps: list[Step], body: Body) -> Answer:
        document = _json(body.read())
        for step in steps if document is not None else ():
            if exists(document, step["condition"]):
                return await self._step(step, body)
        raise Unroutable(404, "None of the routes matched with the switch condition")


def renamed(body: Body) -> Body:
    """The body with its key ``predictions`` called ``instances``: one v1 answer is the next one's v1 request."""
    document = _json(body.read())
    if not isinstance(document, dict) or "predictions" not in document:
        return body
    rest = {key: value for key, value in document.items() if key != "predictions"}
    return Body.of(json.dumps({**rest, "instances": document["predictions"]}).encode())


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
