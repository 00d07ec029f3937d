"""The KServe model: any task's predictor behind the protocols v1 and v2 (REST and gRPC).

Nothing here knows a task: instances and results are dicts whose fields the bundle's schemas describe, and what a task
does in its own way it does in its `serving.core.service.Service`.
"""

from collections.abc import Sequence, Set
from typing import Any

import kserve
import orjson
from kserve import InferOutput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput

from serving.contract.errors import SluiceError
from serving.contract.predictor import Predictor
from serving.contract.refusals import Refused, explain, invalid, not_ready
from serving.contract.task import Task
from serving.core.batching import Batcher
from serving.core.call import Call, clean_name, current
from serving.core.metrics import ServerMetrics
from serving.core.options import Options
from serving.core.service import Service
from serving.core.tensors import describe, instances_of, outputs_of
from serving.feedback import FeedbackStore


class ServedModel(kserve.Model):
    """One bundle under one name; ``ready`` turns true when its predictor is loaded and warm, false when it drains.

    ``limits``: those of every server, ``own``: the task's. ``fields``: names of the bundle's inputs.
    """

    def __init__(self, options: Options, task: Task, metrics: ServerMetrics, feedback: FeedbackStore) -> None:
        super().__init__(options.model_name)
        self.task, self.revision, self._options = task, options.revision, options
        self.limits, self.own, self.max_batch = options.limits, options.limits_of(task), options.max_batch
        self.metrics, self._feedback = metrics, feedback
        self._predictor: Predictor | None = None
        self._batcher: Batcher | None = None
        self.fields: tuple[str, ...] = ()
        self._added: Set[str] = frozenset()
        self.draining = False
        self.service = task.service(self) or Service(self)

    def serve(self, predictor: Predictor) -> None:
        """Start to answer with ``predictor``, which is warm already. To be called on the event loop."""
        works = self.service.serve(predictor)
        self._predictor = predictor
        self._batcher = Batcher(works, self.max_batch, self._options.max_queue, self.metrics)
        self.fields = tuple(predictor.bundle.inputs.get("properties", ()))
        self._added = _SIGNATURE.difference(self.fields)
        self.metrics.queue_limit.set(self._options.max_queue)
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
        await self.service.close()
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
            results = await self._answer(instances_of(payload, self.inputs))
            return self._v2(results, payload, call)
        payloads, previous = _v1_instances(payload, self.inputs.get("properties", {}))
        results = await self._answer(payloads)
        if previous:
            results = [self.task.join(*pair) for pair in zip(previous, results, strict=True)]
        return {"predictions": results, "revision": self.revision, "request_id": call.request_id}

    async def submit(self, kind: str, items: list[Any]) -> list[Any]:
        """Results of some items of one kind of work (`Service.serve`), in order. Errors: as `Batcher.submit`, 503."""
        self._loaded()
        assert self._batcher is not None
        return await self._batcher.submit(kind, items)

    def parse(self, payload: Any, where: str = "") -> dict[str, Any]:
        """One checked instance. Errors: `Refused`, its sentence after ``where``."""
        if not isinstance(payload, dict):
            raise invalid(f"{where}expected an object with {', '.join(self.fields)}")
        try:
            return self._loaded().parse(payload)
        except Refused:
            raise
        except SluiceError as error:
            refused = explain(error)
            assert refused is not None
            raise Refused(refused.status, f"{where}{error}") from error

    def sign(
        self, instances: list[dict[str, Any]], found: list[dict[str, Any]], names: list[str]
    ) -> list[dict[str, Any]]:
        """Results with revision, request id and (where it was given) name; noted in figures, log and feedback store."""
        # One id names one answer, so that feedback finds it: a request of several answers numbers them.
        call = current()
        ids = [call.request_id] if len(found) == 1 else [f"{call.request_id}-{at}" for at in range(len(found))]
        results = []
        for instance, result, id_, name in zip(instances, found, ids, names, strict=True):
            signed = {**result, "revision": self.revision, "request_id": id_} | ({"name": name} if name else {})
            self.service.observe(instance, signed, call)
            self._remember(instance, signed, call)
            results.append(signed)
        return results

    def signature(self) -> dict[str, str]:
        """Who answers the call, for answers that are no instances'."""
        return {"revision": self.revision, "request_id": current().request_id}

    async def _answer(self, payloads: Sequence[Any]) -> list[dict[str, Any]]:
        if not payloads:
            raise invalid("'instances' is empty; send at least one")
        if len(payloads) > self.limits.items:
            raise invalid(f"{len(payloads)} instances; at most {self.limits.items} a request")
        names = [_name_of(payload) for payload in payloads]
        payloads = [_without(payload, self._added) for payload in payloads]
        places = [f"instance {at}: " if len(payloads) > 1 else "" for at in range(len(payloads))]
        instances = [await self.service.parse(*pair) for pair in zip(payloads, places, strict=True)]
        return self.sign(instances, await self.service.answer(instances), names)

    def _remember(self, instance: dict[str, Any], result: dict[str, Any], call: Call) -> None:
        """Tell the feedback store what was answered, and the log which items were shown."""
        remembered = self.task.remember(instance, result)
        if remembered is None:
            return
        if remembered.items:
            call.notes.setdefault("sources", []).append(remembered.items)
        about = (self.revision, self.task.name, result.get("name", ""))
        self._feedback.answered(result["request_id"], *about, remembered)

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


def _asked_of(request: InferRequest) -> list[RequestedOutput]:
    """The outputs a request lists, each as binary as the whole request where it does not say (v2, binary data)."""
    asked = []
    for output in request.request_outputs or ():
        own = dict(output.parameters or {})
        if own.get("binary_data") is None:
            own["binary_data"] = request.use_binary_outputs
        asked.append(RequestedOutput(output.name, own))
    return asked


_SIGNATURE = frozenset({"revision", "request_id", "name"})
"""Fields that the server adds to results, and takes off again where a result comes back as an instance."""


def _name_of(payload: Any) -> str:
    name = payload.get("name") if isinstance(payload, dict) else ""
    return clean_name(name) if isinstance(name, str) else ""


def _without(payload: Any, names: Set[str]) -> Any:
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
