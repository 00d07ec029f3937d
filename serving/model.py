"""The KServe model: any task's predictor behind the protocols v1, v2 (REST and gRPC) and OpenAI's embeddings.

Nothing here knows a task: instances and results are dicts whose fields the bundle's schemas describe.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import kserve
import numpy as np
import orjson
from kserve import InferOutput, InferRequest, InferResponse

from serving.batching import Batcher, Work
from serving.call import Call, current
from serving.feedback import FeedbackStore
from serving.generate import Writer
from serving.metrics import ServerMetrics
from serving.options import Options
from serving.refusals import Refused, invalid, not_ready, unknown
from serving.task import Predictor
from serving.tensors import describe, instances_of, outputs_of


class ServedModel(kserve.Model):
    """One bundle under one name; ``ready`` turns true when its predictor is loaded and warm, false when it drains."""

    def __init__(self, options: Options, metrics: ServerMetrics, feedback: FeedbackStore) -> None:
        super().__init__(options.model_name)
        self.revision, self._limits, self._options = options.revision, options.limits, options
        self._metrics, self._feedback = metrics, feedback
        self._predictor: Predictor | None = None
        self._batcher: Batcher | None = None
        self._writer = Writer.from_environment(metrics)
        self.draining = False

    def serve(self, predictor: Predictor) -> None:
        """Start to answer with ``predictor``, which is warm already. To be called on the event loop."""
        works: dict[str, Work] = {"predict": predictor.predict, "embed": lambda texts: _embed(predictor, texts)}
        self._predictor = predictor
        self._batcher = Batcher(works, self._options.max_batch, self._options.max_queue, self._metrics)
        self.ready = True

    def load(self) -> bool:
        """KServe calls this on a model that is not ready; `serving.server` loads, so nothing happens here."""
        return self.ready

    def stop(self) -> None:
        """KServe's unload; a revision serves one bundle until it goes, so nothing happens."""

    async def close(self) -> None:
        """Finish what waits, then close the predictor."""
        if self._batcher is not None:
            await self._batcher.close()
        await self._writer.close()
        if self._predictor is not None:
            self._predictor.close()

    def get_input_types(self) -> list[dict[str, Any]]:
        """Input tensors, from the bundle's input schema."""
        return describe(self._loaded().bundle.inputs)

    def get_output_types(self) -> list[dict[str, Any]]:
        """Output tensors, from the bundle's output schema, and the two that name revision and request."""
        extra = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("revision", "request_id")]
        return describe(self._loaded().bundle.outputs) + extra

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Answer a v1 body (bytes or dict) or a v2 `InferRequest`. Errors: `serving.refusals.Refused`."""
        call = current()
        if isinstance(payload, InferRequest):
            results = await self._answer(instances_of(payload, self._loaded().bundle.inputs), call)
            return self._v2(results, payload, call)
        results = await self._answer(_v1_instances(payload), call)
        return {"predictions": results, "revision": self.revision, "request_id": call.request_id}

    async def embed(self, texts: list[str]) -> tuple[list[np.ndarray], int]:
        """Vectors (float32 [dim] each) and the tokens read. Errors: 404 where the task has no encoder."""
        if not hasattr(self._loaded(), "embed"):
            raise unknown(f"model {self.name!r} gives no embeddings")
        pairs = await self._queue().submit("embed", texts)
        tokens = sum(count for _, count in pairs)
        self._metrics.tokens.inc(tokens)
        current().notes["tokens"] = tokens
        return [vector for vector, _ in pairs], tokens

    async def _answer(self, payloads: Sequence[Any], call: Call) -> list[dict[str, Any]]:
        if not payloads:
            raise invalid("'instances' is empty; send at least one")
        if len(payloads) > self._limits.items:
            raise invalid(f"{len(payloads)} instances; at most {self._limits.items} a request")
        instances = [self._parse(payload, at, len(payloads)) for at, payload in enumerate(payloads)]
        found = await self._queue().submit("predict", instances)
        # One id names one answer, so that feedback finds it: a request of several answers numbers them.
        ids = [call.request_id] if len(found) == 1 else [f"{call.request_id}-{at}" for at in range(len(found))]
        if self._writer.on:
            found = await asyncio.gather(*map(self._writer.write, instances, found))
        results = [{**r, "revision": self.revision, "request_id": i} for r, i in zip(found, ids, strict=True)]
        self._record(instances, results, call)
        return results

    def _parse(self, payload: Any, at: int, total: int) -> dict[str, Any]:
        where = f"instance {at}: " if total > 1 else ""
        if not isinstance(payload, dict):
            raise invalid(
                f"{where}expected an object with {', '.join(self._loaded().bundle.inputs.get('properties', {}))}"
            )
        try:
            return self._loaded().parse(payload)
        except Refused:
            raise
        except Exception as error:
            raise _of_parse(error, where) from error

    def _record(self, instances: list[dict[str, Any]], results: list[dict[str, Any]], call: Call) -> None:
        """Note in figures, log and feedback store what was answered, so far as the results say it."""
        abstained = sum(result.get("abstained") is True for result in results)
        if abstained:
            self._metrics.abstained.inc(abstained)
            call.notes["abstained"] = abstained
        for instance, result in zip(instances, results, strict=True):
            ids = [source["passage_id"] for source in result.get("sources", ())]
            if not ids:
                continue
            call.notes.setdefault("sources", []).append(ids)
            self._feedback.served(result["request_id"], self.revision, instance.get("question", ""), ids)

    def _v2(self, results: list[dict[str, Any]], request: InferRequest, call: Call) -> InferResponse:
        known = outputs_of(results)
        wanted = {output.name for output in request.request_outputs or ()}
        if unknown_names := wanted - {name for name, _, _ in known}:
            raise invalid(
                f"unknown output tensor {min(unknown_names)!r}; there are {', '.join(n for n, _, _ in known)}"
            )
        return InferResponse(
            request.id or call.request_id,
            self.name,
            [
                InferOutput(name, [len(values)], kind, list(values))
                for name, kind, values in known
                if not wanted or name in wanted
            ],
            model_version=self.revision,
            use_binary_outputs=request.use_binary_outputs,
            requested_outputs=None if request.from_grpc else request.request_outputs,
        )

    def _loaded(self) -> Predictor:
        if self._predictor is None:
            raise not_ready(f"model {self.name!r} is still loading")
        return self._predictor

    def _queue(self) -> Batcher:
        self._loaded()
        assert self._batcher is not None
        return self._batcher


def _embed(predictor: Predictor, texts: list[str]) -> list[tuple[np.ndarray, int]]:
    return list(zip(predictor.embed(texts), predictor.count_tokens(texts).tolist(), strict=True))


def _of_parse(error: Exception, where: str) -> Exception:
    from serving.errors import SluiceError

    return invalid(f"{where}{error}") if isinstance(error, SluiceError) else error


def _v1_instances(payload: Any) -> list[Any]:
    """The instances of a v1 body; raw bytes arrive when a client forgot its content type."""
    if isinstance(payload, bytes):
        try:
            payload = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(payload, dict) or "instances" not in payload:
        raise invalid("the body must be a JSON object with 'instances', a list")
    if not isinstance(payload["instances"], list):
        raise invalid("'instances' must be a list")
    return payload["instances"]
