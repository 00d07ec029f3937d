"""The HTTP routes: KServe's own v1 and v2 endpoints, and beside them the task's, feedback, metrics and the page.

KServe's endpoints are used as they are, on a data plane that tells the truth about readiness and answers bad input
with 400. The hot routes are dispatched before FastAPI, whose routing and re-validation cost more than the model.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import Any

import orjson
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from kserve import ModelRepository
from kserve.errors import ModelNotReady
from kserve.model import BaseKServeModel
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.v1_endpoints import register_v1_endpoints
from kserve.protocol.rest.v2_endpoints import register_v2_endpoints
from starlette.exceptions import HTTPException

from serving.contract.refusals import Refused, explain, invalid, not_ready, unknown
from serving.contract.task import all_tasks
from serving.core.call import current
from serving.core.limits import App, Intake, Receive, Scope, Send, send_json
from serving.core.metrics import ServerMetrics, Writer
from serving.core.model import ServedModel
from serving.core.peers import PREFIX, Peers
from serving.core.request_log import RequestLog
from serving.core.service import unless_gone
from serving.core.tensors import request_of
from serving.feedback import FeedbackStore
from serving.feedback.store import VOTE_SECONDS
from serving.feedback.votes import Vote
from serving.page import send_page

JSON_LENGTH = "inference-header-content-length"
_VOTE = ("request_id", "vote", "correction", "start", "end")
Handler = Callable[[bytes], Awaitable[Any]]


class Plane(DataPlane):
    """KServe's data plane, with true readiness and without its implicit loading."""

    def __init__(self, repository: ModelRepository, writers: Sequence[Writer]) -> None:
        super().__init__(repository)
        self._writers = writers

    async def ready(self) -> bool:
        """Ready when every model is; KServe's own answers true always."""
        return all([await self.model_ready(name) for name in self.model_registry.get_models()])

    async def model_ready(self, model_name: str, disable_predictor_health_check: bool = False) -> bool:
        """For probes: loaded, not draining, and what is answered is noted. A request (it sets the flag) is served."""
        model = self.get_model_from_registry(model_name)
        fit = not getattr(model, "draining", False) and all(writer.alive for writer in self._writers)
        return bool(model.ready and (disable_predictor_health_check or fit))

    async def get_model(self, name: str) -> BaseKServeModel:
        """The model. Errors: not found, not ready (KServe would load it here, on the event loop)."""
        model = self.get_model_from_registry(name)
        if not model.ready:
            raise ModelNotReady(name)
        return model

    def decode(self, *args: Any, **options: Any) -> Any:
        """KServe's decoding, where every malformed body is the client's error and none is ours."""
        try:
            return super().decode(*args, **options)
        except Exception as error:
            if type(error).__name__ == "InferenceError":  # KServe's, with the whole tensor in its text
                raise invalid("BYTES in binary REST must be UTF-8: send base64, or bare bytes by gRPC") from error
            if explain(error) is not None:
                raise
            raise invalid(
                "the body is not a request of this protocol: a field is missing or of the wrong type"
            ) from error


class Fixed(ModelRepositoryExtension):
    """No loading and unloading over the network: whoever can ask a question could otherwise take the model away."""

    async def load(self, model_name: str) -> None:
        """Refused."""
        raise Refused(403, "a revision serves one bundle; deploy a new revision to change it")

    async def unload(self, model_name: str) -> None:
        """Refused."""
        raise Refused(403, "a revision serves one bundle; deploy a new revision to change it")


class Routes:
    """ASGI application: hot and own routes by exact path, everything else to KServe's FastAPI endpoints."""

    def __init__(
        self, model: ServedModel, metrics: ServerMetrics, feedback: FeedbackStore, peers: Peers, log: RequestLog
    ) -> None:
        repository = ModelRepository()
        repository.update(model)
        self.plane, self.extension = Plane(repository, (log, feedback)), Fixed(repository)
        self.model, self._metrics, self._feedback, self._peers = model, metrics, feedback, peers
        self._predict_path, self._infer_path = f"/v1/models/{model.name}:predict", f"/v2/models/{model.name}/infer"
        self._kserve: App = _kserve_app(self.plane, self.extension)
        self._own = model.service.routes
        self._of_others = {route.path for task in all_tasks() for route in task.routes} - set(self._own)
        self._handlers: dict[tuple[str, str], Handler] = {
            ("GET", "/openai/v1/models"): self._models,
            ("POST", "/feedback"): self._vote,
            ("GET", "/capabilities"): self._capabilities,
        }

    def intake(self, scope: Scope) -> Intake:
        """How a request's body is taken, as the task says.

        Errors: 503 and 404, so that nobody uploads hours to a model that is still loading or takes none.
        """
        path = scope["path"]
        if (path == self._predict_path or path in self._own) and not self.model.ready:
            raise not_ready(f"model {self.model.name!r} is still loading")
        if path in self._of_others:
            raise unknown(f"model {self.model.name!r} is of task {self.model.task.name}, which has no route {path}")
        return self.model.service.intake(path)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or raise what `serving.core.limits.Gate` turns into a refusal."""
        method, path = scope.get("method", ""), scope.get("path", "")
        if method == "POST" and path == self._predict_path:
            await send_json(send, 200, await self._predict(scope, receive))
        elif method == "POST" and path == self._infer_path:
            work = self._infer(scope, (await receive())["body"], send)
            await (unless_gone(receive, work) if self.model.service.long else work)
        elif method == "POST" and path in self._own:
            await self._own[path](scope, receive, send)
        elif handler := self._handlers.get((method, path)):
            await send_json(send, 200, await handler((await receive())["body"] if method == "POST" else b""))
        elif (method, path) == ("GET", "/metrics"):
            headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": self._metrics.page()})
        elif path.startswith(PREFIX):
            body = (await receive())["body"] if method == "POST" else b""
            await self._peers.answer(scope, body, send)
        elif not (method in ("GET", "HEAD") and await send_page(scope, send)):
            await self._kserve(scope, receive, send)

    async def _predict(self, scope: Scope, receive: Receive) -> Any:
        service = self.model.service
        if not service.long:
            return await self._answer(scope, (await receive())["body"])
        async with service.body(scope, receive) as body:
            return await unless_gone(receive, self._answer(scope, body))

    async def _answer(self, scope: Scope, body: bytes | dict[str, Any]) -> Any:
        """The v1 answer to a JSON body, or to one instance."""
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        request: Any = {"instances": [body]}
        if isinstance(body, bytes):
            request, _ = self.plane.decode(body=body, headers=headers)
        answer, _ = await self.plane.infer(self.model.name, request, headers)
        return answer

    async def _infer(self, scope: Scope, body: bytes, send: Send) -> None:
        """KServe's v2 endpoint without its models of the body, which make numbers of texts and of true."""
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        request = request_of(body, headers.get(JSON_LENGTH), self.model.name)
        answer, _ = await self.plane.infer(self.model.name, request, headers)
        data, json_length = answer.to_rest()
        if json_length is None:
            await send_json(send, 200, data)
            return
        start = [(b"content-type", b"application/octet-stream"), (b"content-length", str(len(data)).encode()),
                 (JSON_LENGTH.encode(), str(json_length).encode())]  # fmt: skip
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": data})

    async def _capabilities(self, body: bytes) -> Any:
        """What this server offers, for the page and for people: task, schemas, limits, peers."""
        model = self.model
        about = {"name": model.name, "task": model.task.name, "revision": model.revision, "inputs": model.inputs}
        limits = asdict(model.limits) | asdict(model.own)
        return {**about, **model.service.about(), "limits": limits, "peers": self._peers.names}

    async def _models(self, body: bytes) -> Any:
        return {"object": "list", "data": [{"id": self.model.name, "object": "model", "owned_by": "sluice"}]}

    async def _vote(self, body: bytes) -> Any:
        try:
            vote = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise invalid(f"the body is not JSON: {error}") from None
        if not isinstance(vote, dict) or not isinstance(vote.get("request_id"), str):
            raise invalid(
                "the body must be a JSON object with 'request_id' (of the answer), 'vote', maybe 'correction'"
            )
        values: list[Any] = [None if vote.get(name) == "" else vote.get(name) for name in _VOTE]
        given, call = Vote(*values), current()
        seconds = min(VOTE_SECONDS, 0.8 * self.model.limits.deadline)
        row = await self._feedback.cast(given, call.identity, call.client, seconds)
        self._metrics.voted(given.vote, row["revision"], row["counted"])
        call.notes.update(about=given.request_id, vote=given.vote, counted=row["counted"])
        return {"recorded": True, "about": given.request_id, "vote": given.vote} | self.model.signature()


def _kserve_app(plane: Plane, extension: Fixed) -> App:
    app = FastAPI(title="Sluice", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_api_route("/", plane.live)
    register_v1_endpoints(app, plane, extension)
    register_v2_endpoints(app, plane, extension)

    async def pass_on(request: Any, error: Exception) -> Any:
        raise error  # `serving.core.limits.Gate` answers every error, in one way

    for kind in (HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, pass_on)
    return app
