"""v2 over gRPC: KServe's servicer, with our limits, ids, figures and log lines."""

import asyncio
import time
import traceback
from typing import Any

import grpc
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.servicer import InferenceServicer

from serving.app import Routes
from serving.call import CALL, Call, request_id
from serving.errors import SluiceError
from serving.limits import Limits
from serving.metrics import ServerMetrics
from serving.refusals import explain, failed, too_large, too_late
from serving.request_log import RequestLog

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class _Guard(grpc.aio.ServerInterceptor):
    """Around every method: an id and the revision in the trailing metadata, a deadline, and errors as statuses."""

    def __init__(self, routes: Routes, limits: Limits, revision: str, metrics: ServerMetrics, log: RequestLog) -> None:
        self._routes, self._limits, self._revision, self._metrics, self._log = routes, limits, revision, metrics, log

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        name = details.method.rsplit("/", 1)[-1]

        async def guarded(request: Any, context: Any) -> Any:
            return await self._call(handler.unary_unary, name, request, context)

        return grpc.unary_unary_rpc_method_handler(
            guarded, request_deserializer=handler.request_deserializer, response_serializer=handler.response_serializer
        )

    async def _call(self, method: Any, name: str, request: Any, context: Any) -> Any:
        started, code = time.perf_counter(), 200
        offered = dict(context.invocation_metadata() or ()).get("x-request-id")
        call = Call(request_id(offered if isinstance(offered, str) else None), "grpc")
        signed = (("x-request-id", call.request_id), ("x-sluice-revision", self._revision))
        token = CALL.set(call)
        try:
            intake = self._routes.intake({"path": "/v2/models/"})
            if request.ByteSize() > intake.limit:
                raise too_large(intake.limit)
            call.allowed = self._limits.deadline
            async with asyncio.timeout(self._limits.deadline) as call.clock:
                answer = await method(request, context)
            context.set_trailing_metadata(signed)  # not earlier: KServe reads it back, in another shape
            return answer
        except Exception as error:
            refused = too_late(call.allowed) if isinstance(error, TimeoutError) else explain(error)
            if refused is None:
                call.notes["exception"] = "".join(traceback.format_exception(error))[-4000:]
                refused = failed(call.request_id)
            code = refused.status
            call.notes["error"] = str(refused)
            await context.abort(CODES.get(code, grpc.StatusCode.INTERNAL), str(refused), signed)
        finally:
            CALL.reset(token)
            if name == "ModelInfer" or code != 200:
                seconds = time.perf_counter() - started
                self._metrics.answered(code, "grpc", seconds)
                line = {"request_id": call.request_id, "revision": self._revision, "route": "grpc", "code": code}
                self._log.write(line | {"ms": round(seconds * 1000, 2)} | call.notes)


async def start_grpc(
    address: str, routes: Routes, limits: Limits, revision: str, metrics: ServerMetrics, log: RequestLog
) -> Any:
    """Start a `grpc.aio.Server` on ``address`` (host:port). Errors: `SluiceError` if it is taken."""
    server = grpc.aio.server(
        interceptors=[_Guard(routes, limits, revision, metrics, log)],
        options=[("grpc.max_receive_message_length", max(limits.body, limits.inline)), ("grpc.so_reuseport", 0)],
        maximum_concurrent_rpcs=limits.in_flight,
    )
    add_GRPCInferenceServiceServicer_to_server(InferenceServicer(routes.plane, routes.extension), server)
    try:
        server.add_insecure_port(address)
    except RuntimeError as error:
        raise SluiceError(
            f"cannot listen on {address} (gRPC): in use, or not this machine's; name another --grpc-port"
        ) from error
    await server.start()
    return server
