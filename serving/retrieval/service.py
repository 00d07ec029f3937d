"""Retrieval's half of a server: answers that a generator may write anew, abstentions that are counted."""

import asyncio
from typing import Any

from prometheus_client import Counter

from serving.core.batching import Work
from serving.core.call import Call
from serving.core.openai import EncodingService
from serving.retrieval.generate import Writer


class RetrievalService(EncodingService):
    """See `serving.core.service.Service`."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        make = model.metrics.make
        self._abstained = make(Counter, "sluice_abstained", "Answers withheld for low confidence")
        self._generated = make(Counter, "sluice_generated", "Answers by the generator, by outcome", "outcome")
        self._writer = Writer.from_environment(self)

    def serve(self, predictor: Any) -> dict[str, Work]:
        """See `Service.serve`; the age of online features is watched from here on."""
        if predictor.features.live:
            self.model.metrics.watch(features=predictor.features)
        return super().serve(predictor)

    async def answer(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """See `Service.answer`."""
        found = await super().answer(instances)
        return await asyncio.gather(*map(self._writer.write, instances, found)) if self._writer.on else found

    def observe(self, instance: dict[str, Any], result: dict[str, Any], call: Call) -> None:
        """See `Service.observe`."""
        super().observe(instance, result, call)
        if result["abstained"]:
            self._abstained.inc()
            call.notes["abstained"] = call.notes.get("abstained", 0) + 1

    def generated(self, outcome: str) -> None:
        """The generator's outcome: written, failed, or refused (its citations did not hold)."""
        self._generated.labels(outcome, self.model.metrics.revision).inc()

    async def close(self) -> None:
        """Close the generator's connections."""
        await self._writer.close()
