"""Transcription's half of a server: uploads that stream in, recordings that take turns window by window."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

from serving.core.batching import Work
from serving.core.call import Call, current
from serving.core.limits import Intake, Large, Receive, Scope, Send
from serving.core.service import Service
from serving.transcription import ROUTE
from serving.transcription.hearing import KIND, Figures, Hearing
from serving.transcription.routes import payload_of, transcribe
from serving.transcription.uploads import taken


class TranscriptionService(Service):
    """See `serving.core.service.Service`."""

    long = True

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.routes[ROUTE.path] = self._transcribe
        self.large = Large(model.own.uploads, model.own.uploads * model.own.inline, "recordings")
        self._figures = Figures(model.metrics)
        self._hearing: Hearing | None = None

    def intake(self, path: str) -> Intake:
        """Recordings stream in, or come as text in a large body of v2."""
        if path in (ROUTE.path, f"/v1/models/{self.model.name}:predict"):
            return Intake(self.model.own.upload, True, "send a shorter recording, or one that is compressed")
        return Intake(self.model.own.inline) if path.startswith("/v2/models/") else super().intake(path)

    @asynccontextmanager
    async def body(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes | dict[str, Any]]:
        """The body may also be a form or bare media."""
        async with taken(scope, receive, self.model.own.inline) as upload:
            if upload.json is not None:
                yield upload.json
            else:
                yield payload_of(upload, self.model.inputs) | {"name": upload.first("name", upload.stem)}

    def serve(self, predictor: Any) -> dict[str, Work]:
        """See `Service.serve`."""
        self._hearing = Hearing(predictor, self.model, self._figures)
        return {**super().serve(predictor), KIND: predictor.transcribe}

    @property
    def hearing(self) -> Hearing:
        """Runs recordings; once the model is served."""
        assert self._hearing is not None
        return self._hearing

    async def parse(self, payload: Any, where: str = "") -> dict[str, Any]:
        """A checked instance, with the SHA-256 of the recording's bytes in ``sha256``; "" where nobody took it."""
        instance = await asyncio.to_thread(self.model.parse, payload, where)
        return {**instance, "sha256": _digest(instance["audio"])}

    async def answer(self, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """See `Service.answer`."""
        return await self.hearing.each(instances)

    def observe(self, instance: dict[str, Any], result: dict[str, Any], call: Call) -> None:
        """Count how sure it is of each segment; what is asked is no text."""
        self.model.metrics.answer((), [segment.get("confidence") for segment in result.get("segments", ())])

    def about(self) -> dict[str, Any]:
        """The page asks for recordings where this says so."""
        return {"recordings": True}

    async def close(self) -> None:
        """Stop the decoding threads."""
        if self._hearing is not None:
            self._hearing.close()

    async def _transcribe(self, scope: Scope, receive: Receive, send: Send) -> None:
        await transcribe(self, scope, receive, send)


def _digest(audio: Any) -> str:
    return sha256(audio).hexdigest() if isinstance(audio, bytes) else current().digests.get(str(audio), "")
