"""v2 over gRPC: KServe's servicer, with our limits, ids, figures and log lines."""

import asyncio
import logging
import time
import traceback
from typing import Any

import grpc
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.servicer import InferenceServicer

from serving.contract.access import OPEN_RPC, Access
from serving.contract.errors import SluiceError
from serving.contract.refusals import Refused, busy, explain, failed, too_large, too_late
from serving.core.app import Routes
from serving.core.call import CALL, Call, begun
from serving.core.limits import Limits
from serving.core.metrics import ServerMetrics
from serving.core.request_log import RequestLog

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

V2 = "/v2/models/"
"""Stands for the path of a message: v2 is the same by gRPC."""
WAITING = 16
"""RPCs that may wait for their message, for each that may be answered."""
CONNECTION_MS = 300_000
"""A connection is told to go after this, and has as long to finish: nothing waits for a message for ever."""
METERED_SECONDS = 10.0


class _Metered(logging.Filter):
    """One line in `METERED_SECONDS` about strangers' bytes, with the number of those that were left out."""

    def __init__(self) -> None:
        super().__init__()
        self._next, self._left_out = 0.0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        if (now := time.monotonic()) < self._next:
            self._left_out += 1
            return False
        if self._left_out:
            record.msg, record.args = f"{record.getMessage()} (and {self._left_out} lines like it)", ()
        self._next, self._left_out = now + METERED_SECONDS, 0
        return True


_METERED = _Metered()
_LOG = logging.getLogger(__name__)
_LOG.addFilter(_METERED)
logging.getLogger("grpc._cython.cygrpc").addFilter(_METERED)  # a traceback for each RPC that goes wrong inside grpc
_GARBAGE = object()
"""Stands for a message that is none of its method."""


class _Guard(grpc.aio.ServerInterceptor):
    """Around every method: an id and the revision in the trailing metadata, a deadline, and errors as statuses."""

    def __init__(
        self, routes: Routes, limits: Limits, revision: str, metrics: ServerMetrics, log: RequestLog, access: Access
    ) -> None:
        self._routes, self._limits, self._revision, self._metrics, self._log = routes, limits, revision, metrics, log
        self._access, self._working = access, 0

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        name = details.method.rsplit("/", 1)[-1]

        async def guarded(request: Any, context: Any) -> Any:
            return await self._call(handler.unary_unary, name, request, context)

        def read(message: bytes) -> Any:
            try:
                return handler.request_deserializer(message)
            except Exception:  # protobuf's
                return _GARBAGE

        return grpc.unary_unary_rpc_method_handler(
            guarded, request_deserializer=read, response_serializer=handler.response_serializer
        )

    async def _call(self, method: Any, name: str, request: Any, context: Any) -> Any:
        started, code = time.perf_counter(), 200
        metadata = dict(context.invocation_metadata() or ())
        offered = metadata.get("x-request-id")
        call = begun(offered if isinstance(offered, str) else "", "grpc")
        signed = (("x-request-id", call.echoed), ("x-sluice-revision", self._revision))
        token = CALL.set(call)
        try:
            self._admit(name, request, metadata, context.peer(), call)
            self._working += 1
            call.allowed = self._limits.deadline
            try:
                async with asyncio.timeout(self._limits.deadline) as call.clock:
                    answer = await method(request, context)
            finally:
                self._working -= 1
            context.set_trailing_metadata(signed)  # not earlier: KServe reads it back, in another shape
            return answer
        except Exception as error:
            refused = too_late(call.allowed) if isinstance(error, TimeoutError) else explain(error)
            if refused is None:
                call.notes["exception"] = "".join(traceback.format_exception(error))[-4000:]
                refused = failed(call.request_id)
            code = refused.status
            call.notes["error"], call.blamed = str(refused), code if refused.blamed else 0
            await context.abort(CODES.get(code, grpc.StatusCode.INTERNAL), str(refused), signed)
        finally:
            CALL.reset(token)
            if call.blamed:
                self._metrics.refused(code)
                _LOG.warning("%s: %s", name, call.notes["error"])
            elif name == "ModelInfer" or code != 200:
                seconds = time.perf_counter() - started
                self._metrics.answered(code, "grpc", seconds)
                line = call.logged() | {"revision": self._revision, "route": "grpc", "code": code}
                self._log.write(line | {"ms": round(seconds * 1000, 2)} | call.notes)

    def _admit(self, name: str, request: Any, metadata: dict[str, Any], peer: str, call: Call) -> None:
        """Errors: 400 for what is no message, 401, 413, 429. Only a message that is complete comes here."""
        address = peer.partition(":")[2].rpartition(":")[0].strip("[]")
        texts = {k.encode(): v.encode("utf-8", "replace") for k, v in metadata.items() if isinstance(v, str)}
        call.client = self._access.client(address, texts.get(b"x-forwarded-for", b"").decode())
        if request is _GARBAGE:
            raise Refused(400, f"the message is none that {name} takes", blamed=True)
        if self._access.closed and name not in OPEN_RPC:
            call.identity = call.notes["identity"] = self._access.identity(address, texts)
        if self._working >= self._limits.in_flight:
            raise busy(f"{self._limits.in_flight} requests are being answered, as many as fit")
        limit = self._routes.model.service.intake(V2).limit
        if request.ByteSize() > limit:
            raise too_large(limit)


async def start_grpc(
    address: str, routes: Routes, limits: Limits, revision: str, metrics: ServerMetrics, log: RequestLog, access: Access
) -> Any:
    """Start a `grpc.aio.Server` on ``address`` (host:port). Errors: `SluiceError` if it is taken."""
    server = grpc.aio.server(
        interceptors=[_Guard(routes, limits, revision, metrics, log, access)],
        options=[
            ("grpc.max_receive_message_length", max(limits.body, routes.model.service.intake(V2).limit)),
            ("grpc.max_metadata_size", 65_536),
            ("grpc.max_connection_age_ms", CONNECTION_MS),
            ("grpc.max_connection_age_grace_ms", CONNECTION_MS),
            ("grpc.so_reuseport", 0),
        ],
        maximum_concurrent_rpcs=WAITING * limits.in_flight,
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
