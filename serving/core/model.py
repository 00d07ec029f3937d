"""The KServe model: any task's predictor behind the protocols v1, v2 (REST and gRPC) and OpenAI's embeddings.

Nothing here knows a task: instances and results are dicts whose fields the bundle's schemas describe.
"""

import asyncio
import operator
from collections.abc import AsyncGenerator, Sequence
from hashlib import sha256
from typing import Any

import kserve
import numpy as np
import orjson
from kserve import InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput

from serving.contract.errors import SluiceError
from serving.contract.predictor import Predictor
from serving.contract.refusals import Refused, explain, invalid, not_ready, unknown
from serving.core.batching import Batcher, Work
from serving.core.call import Call, current
from serving.core.metrics import ServerMetrics
from serving.core.options import Options
from serving.core.tensors import describe, instances_of, outputs_of
from serving.feedback import FeedbackStore
from serving.retrieval.generate import Writer
from serving.transcription.hearing import KIND, Hearing, listens
from serving.transcription.uploads import clean_name


class ServedModel(kserve.Model):
    """One bundle under one name; ``ready`` turns true when its predictor is loaded and warm, false when it drains."""

    def __init__(self, options: Options, metrics: ServerMetrics, feedback: FeedbackStore) -> None:
        super().__init__(options.model_name)
        self.revision, self._limits, self._options = options.revision, options.limits, options
        self._metrics, self._feedback = metrics, feedback
        self._predictor: Predictor | None = None
        self._batcher: Batcher | None = None
        self._hearing: Hearing | None = None
        self._writer = Writer.from_environment(metrics)
        self.draining = False

    def serve(self, predictor: Predictor) -> None:
        """Start to answer with ``predictor``, which is warm already. To be called on the event loop."""
        works: dict[str, Work] = {"predict": predictor.predict, "embed": lambda texts: _embed(predictor, texts)}
        if listens(predictor):
            works[KIND] = predictor.transcribe
        self._predictor = predictor
        self._batcher = Batcher(works, self._options.max_batch, self._options.max_queue, self._metrics)
        if listens(predictor):
            self._hearing = Hearing(predictor, self._batcher, self._limits, self._metrics)
        self._metrics.queue_limit.set(self._options.max_queue)
        features = getattr(predictor, "features", None)
        if getattr(features, "live", False):
            self._metrics.watch(features=features)
        self.ready = True

    def load(self) -> bool:
        """KServe calls this on a model that is not ready; `serving.core.server` loads, so nothing happens here."""
        return self.ready

    def stop(self) -> None:
        """KServe's unload; a revision serves one bundle until it goes, so nothing happens."""

    async def close(self) -> None:
        """Finish what waits, then close the predictor."""
        if self._batcher is not None:
            await self._batcher.close()
        if self._hearing is not None:
            self._hearing.close()
        await self._writer.close()
        if self._predictor is not None:
            self._predictor.close()

    def get_input_types(self) -> list[dict[str, Any]]:
        """Input tensors, from the bundle's input schema."""
        return describe(self.inputs)

    def get_output_types(self) -> list[dict[str, Any]]:
        """Output tensors, from the bundle's output schema, and the two that name revision and request."""
        extra = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in ("revision", "request_id")]
        return describe(self._loaded().bundle.outputs) + extra

    @property
    def listens(self) -> bool:
        """Whether the instances are recordings."""
        return self._hearing is not None

    @property
    def task(self) -> str:
        """The bundle's task. Errors: 503 while loading."""
        return self._loaded().bundle.task

    @property
    def inputs(self) -> dict[str, Any]:
        """The bundle's schema of one instance. Errors: 503 while loading."""
        return self._loaded().bundle.inputs

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Answer a v1 body (bytes or dict) or a v2 `InferRequest`. Errors: `serving.contract.refusals.Refused`.

        A v1 body of ``predictions`` instead of ``instances`` is another model's answer, as an InferenceGraph hands it
        on: the fields that this task knows are its instances, and each result is joined with what it came from.
        """
        call = current()
        if isinstance(payload, InferRequest):
            results = await self._answer(instances_of(payload, self.inputs), call)
            return self._v2(results, payload, call)
        payloads, previous = _v1_instances(payload, self.inputs.get("properties", {}))
        results = await self._answer(payloads, call)
        if previous:
            join = getattr(self._predictor, "join", operator.or_)
            results = [join(before, result) for before, result in zip(previous, results, strict=True)]
        return {"predictions": results, "revision": self.revision, "request_id": call.request_id}

    async def recording(self, payload: dict[str, Any]) -> dict[str, Any]:
        """One recording's parsed instance, for `parts` and `finish`. Errors: 400, 404 where the task takes none."""
        if self._hearing is None:
            raise unknown(f"model {self.name!r} takes no recordings")
        return await asyncio.to_thread(self._parse, payload, "")

    def parts(self, instance: dict[str, Any]) -> AsyncGenerator[tuple[list[dict[str, Any]], float]]:
        """See `serving.transcription.hearing.Hearing.parts`."""
        assert self._hearing is not None
        return self._hearing.parts(instance)

    def finish(self, instance: dict[str, Any], segments: list[dict[str, Any]], name: str) -> dict[str, Any]:
        """The signed result of all of a recording's segments, remembered for feedback under its ``name``."""
        assert self._hearing is not None
        return self._signed([instance], [self._hearing.assemble(instance, segments)], [name], current())[0]

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
        known = self.inputs.get("properties", {})
        names = [_name_of(payload) for payload in payloads]
        payloads = [_without(payload, _SIGNATURE - set(known)) for payload in payloads]
        places = [f"instance {at}: " if len(payloads) > 1 else "" for at in range(len(payloads))]
        if self._hearing is None:
            instances = [self._parse(payload, where) for payload, where in zip(payloads, places, strict=True)]
            found = await self._queue().submit("predict", instances)
        else:
            instances = [await asyncio.to_thread(self._parse, *pair) for pair in zip(payloads, places, strict=True)]
            found = await self._hearing.each(instances)
        if self._writer.on:
            found = await asyncio.gather(*map(self._writer.write, instances, found))
        return self._signed(instances, found, names, call)

    def _parse(self, payload: Any, where: str) -> dict[str, Any]:
        if not isinstance(payload, dict):
            raise invalid(f"{where}expected an object with {', '.join(self.inputs.get('properties', {}))}")
        try:
            instance = self._loaded().parse(payload)
            return instance if self._hearing is None else {**instance, "sha256": _digest(instance["audio"])}
        except Refused:
            raise
        except SluiceError as error:
            refused = explain(error)
            assert refused is not None
            raise Refused(refused.status, f"{where}{error}") from error

    def _signed(
        self, instances: list[dict[str, Any]], found: list[dict[str, Any]], names: list[str], call: Call
    ) -> list[dict[str, Any]]:
        """Results with revision, request id and (where it was given) name; noted in figures, log and feedback store."""
        # One id names one answer, so that feedback finds it: a request of several answers numbers them.
        ids = [call.request_id] if len(found) == 1 else [f"{call.request_id}-{at}" for at in range(len(found))]
        results = []
        for result, id_, name in zip(found, ids, names, strict=True):
            results.append({**result, "revision": self.revision, "request_id": id_} | ({"name": name} if name else {}))
        abstained = sum(result.get("abstained") is True for result in results)
        if abstained:
            self._metrics.abstained.inc(abstained)
            call.notes["abstained"] = abstained
        fields = () if self._hearing else tuple(self.inputs.get("properties", ()))
        for instance, result in zip(instances, results, strict=True):
            self._metrics.answer([instance.get(field) for field in fields], result)
            self._remember(instance, result, call)
        return results

    def _remember(self, instance: dict[str, Any], result: dict[str, Any], call: Call) -> None:
        """Tell the feedback store what was answered: the passages of a cited answer, else the answer itself."""
        ids = [source["passage_id"] for source in result.get("sources", ())]
        if ids:
            call.notes.setdefault("sources", []).append(ids)
            self._feedback.served(result["request_id"], self.revision, instance.get("question", ""), ids)
        elif "sources" not in result:
            about = (self.revision, self.task, result.get("name", ""))
            self._feedback.answered(result["request_id"], *about, result, instance.get("sha256", ""))

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
            requested_outputs=None if request.from_grpc else _asked_of(request),
        )

    def _loaded(self) -> Predictor:
        if self._predictor is None:
            raise not_ready(f"model {self.name!r} is still loading")
        return self._predictor

    def _queue(self) -> Batcher:
        self._loaded()
        assert self._batcher is not None
        return self._batcher


def _embed(predictor: Any, texts: list[str]) -> list[tuple[np.ndarray, int]]:
    return list(zip(predictor.embed(texts), predictor.count_tokens(texts).tolist(), strict=True))


def _asked_of(request: InferRequest) -> list[RequestedOutput]:
    """The outputs a request lists, each as binary as the whole request where it does not say (v2, binary data)."""
    asked = []
    for output in request.request_outputs or ():
        own = dict(output.parameters or {})
        if own.get("binary_data") is None:
            own["binary_data"] = request.use_binary_outputs
        asked.append(RequestedOutput(output.name, own))
    return asked


def _digest(audio: Any) -> str:
    """The SHA-256 of a recording's bytes; of an upload it was taken as they came. "" where nobody took it."""
    return sha256(audio).hexdigest() if isinstance(audio, bytes) else current().digests.get(str(audio), "")


_SIGNATURE = {"revision", "request_id", "name"}
"""Fields that the server adds to results, and takes off again where a result comes back as an instance."""


def _name_of(payload: Any) -> str:
    name = payload.get("name") if isinstance(payload, dict) else ""
    return clean_name(name) if isinstance(name, str) else ""


def _without(payload: Any, names: set[str]) -> Any:
    if not isinstance(payload, dict) or names.isdisjoint(payload):
        return payload
    return {name: value for name, value in payload.items() if name not in names}


def _v1_instances(payload: Any, known: dict[str, Any]) -> tuple[list[Any], list[dict[str, Any]]]:
    """The instances of a v1 body, and the results that they came from, if any.

    Raw bytes arrive when a client forgot its content type.
    """
    if isinstance(payload, bytes):
        try:
            payload = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise invalid(f"the body is not JSON: {error}") from None
    if not isinstance(payload, dict) or not {"instances", "predictions"} & set(payload):
        raise invalid("the body must be a JSON object with 'instances', a list")
    key = "instances" if "instances" in payload else "predictions"
    if not isinstance(payload[key], list):
        raise invalid(f"{key!r} must be a list")
    if key == "instances":
        return payload[key], []
    previous = [entry if isinstance(entry, dict) else {} for entry in payload[key]]
    known = known | {"name": {}}
    return [{name: value for name, value in entry.items() if name in known} for entry in previous], previous
