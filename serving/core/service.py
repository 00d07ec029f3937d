"""A task's half of a server: which routes it has, how it takes bodies, how instances become answers.

`Service` is what a model needs that answers instances in batches; a task overrides what is different with it.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from serving.contract.predictor import Predictor
from serving.contract.refusals import gone
from serving.core.batching import Work
from serving.core.call import Call
from serving.core.limits import App, Intake, Large, Receive, Scope

if TYPE_CHECKING:
    from serving.core.model import ServedModel


class Service:
    """The half of one server that its task brings.

    ``routes``: a handler for each of the task's own paths. ``long``: an answer may take so long that the work ends when
    its client hangs up. ``large``: what bodies above the common limit may take up together.
    """

    long = False
    large = Large()

    def __init__(self, model: "ServedModel") -> None:
        """``model`` has the name, limits, figures; what needs its predictor comes with `serve`."""
        self.model = model
        self.routes: dict[str, App] = {}

    def intake(self, path: str) -> Intake:
        """How a request's body is taken."""
        return Intake(self.model.limits.body)

    @asynccontextmanager
    async def body(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes | dict[str, Any]]:
        """A ``long`` model's v1 body: the protocol's JSON, or one instance. Errors: `Refused`."""
        yield (await receive())["body"]

    def serve(self, predictor: Predictor) -> dict[str, Work]:
        """The predictor is loaded and warm. Out: the kinds of work that the model's one thread takes turns with."""
        return {"predict": predictor.predict}

    async def parse(self, payload: Any, where: str = "") -> dict[str, Any]:
        """A checked instance. Errors: `Refused`, its sentence after ``where``."""
        return self.model.parse(payload, where)

    async def answer(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A result for each parsed instance. Errors: `SluiceError`."""
        return await self.model.submit("predict", instances)

    def observe(self, instance: dict[str, Any], result: dict[str, Any], call: Call) -> None:
        """Count one answer in figures and in the call's log line."""
        asked = [instance.get(field) for field in self.model.fields]
        self.model.metrics.answer(asked, (result.get("confidence"),))

    def about(self) -> Mapping[str, Any]:
        """What /capabilities says beside what it says of every model."""
        return {}

    async def close(self) -> None:
        """Nothing is asked any more."""


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, Any]) -> Any:
    """The result of ``work``, which is cancelled when the client hangs up; its body must have been read."""

    async def hung_up() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks = asyncio.ensure_future(work), asyncio.ensure_future(hung_up())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise gone("the client went away before its answer was ready")
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
