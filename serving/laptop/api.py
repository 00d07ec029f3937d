"""The API server: the part of Kubernetes' REST interface that clients of services, runtimes and graphs use."""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import hdrs, web

from serving.contract.errors import SluiceError
from serving.laptop import discovery
from serving.laptop.admission import Stranger, admission
from serving.laptop.graph.validate import validate_inference_graph
from serving.laptop.listener import TooSlow, counted
from serving.laptop.patch import json_patch, merge_patch
from serving.laptop.store import Key, Object, Refused, Store
from serving.laptop.validate import validate_change, validate_inference_service, validate_serving_runtime

_VALIDATE = {
    "inferenceservices": validate_inference_service,
    "servingruntimes": validate_serving_runtime,
    "inferencegraphs": validate_inference_graph,
}
_OBJECTS = "/apis/serving.kserve.io/{version}/namespaces/{namespace}/{plural}"


class Plane(Protocol):
    """What the API tells of its writes."""

    store: Store

    async def changed(self, key: Key) -> None:
        """After an object was created or changed."""

    def removed(self, key: Key) -> None:
        """After an object was deleted."""

    async def peer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on to the service or graph that the path names."""


def application(plane: Plane, token: str) -> web.Application:
    """The API over ``plane``'s store, as an aiohttp application; clients carry ``token`` (RFC 6750)."""
    app = web.Application(middlewares=[_refusals, admission(token)], client_max_size=4 << 20)
    api = _Api(plane)
    app.add_routes(
        [
            *(web.get(path, discovery.answer) for path in discovery.PATHS),
            web.get("/apis/serving.kserve.io/{version}/{plural}", api.list),
            web.get(_OBJECTS, api.list),
            web.post(_OBJECTS, api.create),
            web.get(_OBJECTS + "/{name}", api.get),
            web.put(_OBJECTS + "/{name}", api.replace),
            web.patch(_OBJECTS + "/{name}", api.patch),
            web.delete(_OBJECTS + "/{name}", api.delete),
            web.get(_OBJECTS + "/{name}/status", api.get),
            web.route("*", "/peers/{name}/{path:.*}", plane.peer),
        ]
    )
    return app


class _Api:
    def __init__(self, plane: Plane):
        self._plane = plane
        self._store = plane.store

    async def get(self, request: web.Request) -> web.Response:
        return _answer(request, self._store.get(_key(request)))

    async def list(self, request: web.Request) -> web.StreamResponse:
        plural = _plural(request)
        namespace = request.match_info.get("namespace", "")
        if request.query.get("watch", "").lower() in ("1", "true"):
            return await self._watch(request, plural, namespace)
        items = [o for o in self._store.select(plural, namespace) if _selected(request, o)]
        kind = discovery.RESOURCES[plural].kind
        meta = {"resourceVersion": str(self._store.version)}
        return _answer(
            request, {"apiVersion": _group_version(plural), "kind": f"{kind}List", "metadata": meta, "items": items}
        )

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        """Stream changes as JSON lines: what is there first, unless a resourceVersion says that the client knows it."""
        queue: asyncio.Queue[tuple[str, Object]] = asyncio.Queue()

        def notice(event: str, key: Key, obj: Object) -> None:
            if key.plural == plural and namespace in ("", key.namespace) and _selected(request, obj):
                queue.put_nowait((event, obj))

        known = int(request.query.get("resourceVersion") or 0)
        for obj in self._store.select(plural, namespace):
            if int(obj["metadata"]["resourceVersion"]) > known and _selected(request, obj):
                queue.put_nowait(("ADDED", obj))
        forget = self._store.watch(notice)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            await response.prepare(request)
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(float(request.query.get("timeoutSeconds") or 1800)):
                    while True:
                        event, obj = await queue.get()
                        await response.write(json.dumps({"type": event, "object": obj}).encode() + b"\n")
        finally:
            forget()
        return response

    async def create(self, request: web.Request) -> web.Response:
        obj = await _body(request)
        name = str(obj["metadata"].get("name") or "")
        key = Key(_plural(request), request.match_info["namespace"], name)
        _admit(key, obj)
        if request.query.get("dryRun"):
            return _answer(request, obj, 201)
        self._store.create(key, obj)
        await self._plane.changed(key)
        return _answer(request, self._store.get(key), 201)

    async def replace(self, request: web.Request) -> web.Response:
        key, obj = _key(request), await _body(request)
        self._store.get(key)
        if not obj["metadata"].get("resourceVersion"):
            raise Refused(
                422, "Invalid", "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update"
            )
        return await self._update(request, key, obj)

    async def patch(self, request: web.Request) -> web.Response:
        key, kind = _key(request), request.content_type
        apply = {"application/merge-patch+json": merge_patch, "application/json-patch+json": json_patch}.get(kind)
        if apply is None:
            raise Refused(
                415,
                "UnsupportedMediaType",
                f"{kind} is not supported for custom objects; send application/merge-patch+json or json-patch+json",
            )
        patch = _json(await request.read())
        if isinstance(patch, list) != (apply is json_patch):
            raise Refused(
                400, "BadRequest", f"the body does not fit {kind}: lists are JSON patches, objects merge patches"
            )
        return await self._update(request, key, apply(self._store.get(key), patch))

    async def _update(self, request: web.Request, key: Key, obj: Object) -> web.Response:
        if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
            raise Refused(422, "Invalid", "metadata: required")
        if obj["metadata"].get("name") != key.name:
            raise Refused(
                400, "BadRequest", f"the object is named {obj['metadata'].get('name')!r}, the URL {key.name!r}"
            )
        _admit(key, obj, self._store.get(key))
        if request.query.get("dryRun"):
            return _answer(request, obj)
        self._store.update(key, obj)
        await self._plane.changed(key)
        return _answer(request, self._store.get(key))

    async def delete(self, request: web.Request) -> web.Response:
        key = _key(request)
        gone = self._store.delete(key)
        self._plane.removed(key)
        details = {"name": key.name, "group": "serving.kserve.io", "kind": key.plural, "uid": gone["metadata"]["uid"]}
        return _answer(
            request, {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Success", "details": details}
        )


def _admit(key: Key, obj: Object, old: Object | None = None) -> None:
    """Give the object its kind, or check it; run the CRD's and the webhook's rules, also against the ``old`` one."""
    resource = discovery.RESOURCES[key.plural]
    for field, right in (("kind", resource.kind), ("apiVersion", _group_version(key.plural))):
        if obj.setdefault(field, right) != right:
            raise Refused(400, "BadRequest", f"{field} is {obj[field]!r}; this URL takes {right!r}")
    namespace = obj["metadata"].get("namespace") or key.namespace
    if namespace != key.namespace:
        raise Refused(
            400, "BadRequest", f"the namespace of the object ({namespace}) is not that of the request ({key.namespace})"
        )
    if not key.name:
        raise Refused(422, "Invalid", "metadata.name: required")
    try:
        _VALIDATE[key.plural](obj)
        if old is not None and key.plural == "inferenceservices":
            validate_change(old, obj)
    except SluiceError as error:
        raise Refused(422, "Invalid", f'{resource.kind}.serving.kserve.io "{key.name}" is invalid: {error}') from None


async def _body(request: web.Request) -> Object:
    obj = _json(await request.read())
    if not isinstance(obj, dict) or not isinstance(obj.setdefault("metadata", {}), dict):
        raise Refused(400, "BadRequest", "the body must be an object with metadata")
    return obj


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "BadRequest", f"the body is not JSON: {error}") from None


def _plural(request: web.Request) -> str:
    plural = request.match_info["plural"]
    resource = discovery.RESOURCES.get(plural)
    if resource is None or request.match_info["version"] != resource.version:
        raise Refused(404, "NotFound", "the server could not find the requested resource")
    return plural


def _key(request: web.Request) -> Key:
    return Key(_plural(request), request.match_info["namespace"], request.match_info["name"])


def _group_version(plural: str) -> str:
    return f"serving.kserve.io/{discovery.RESOURCES[plural].version}"


def _selected(request: web.Request, obj: Object) -> bool:
    """Do labelSelector (a=b, a!=b, a) and fieldSelector (metadata.name=x) take this object?"""
    meta = obj["metadata"]
    fields = {"metadata.name": meta["name"], "metadata.namespace": meta["namespace"]}
    return _fits(request.query.get("fieldSelector", ""), fields) and _fits(
        request.query.get("labelSelector", ""), meta.get("labels") or {}
    )


def _fits(selector: str, values: dict[str, str]) -> bool:
    for term in filter(None, selector.split(",")):
        key, sign, value = term.partition("=")
        if key.endswith("!"):
            if values.get(key[:-1]) == value:
                return False
        elif values.get(key) != value.lstrip("=") if sign else key not in values:
            return False
    return True


def _answer(request: web.Request, obj: Object, status: int = 200) -> web.Response:
    if "as=Table" in request.headers.get("Accept", "") and (table := discovery.table(obj)):
        obj = table
    return web.json_response(obj, status=status)


@web.middleware
async def _refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Every error as a Status object, the way clients expect it."""
    try:
        with counted(request):
            return await handler(request)
    except Refused as refused:
        code, reason, message = refused.code, refused.reason, refused.message
    except SluiceError as error:
        code, reason, message = 422, "Invalid", str(error)
    except Stranger as stranger:
        reasons = {403: "Forbidden", 421: "MisdirectedRequest"}
        code, reason, message = stranger.status, reasons.get(stranger.status, "BadRequest"), str(stranger)
    except TooSlow as slow:
        code, reason, message = 408, "Timeout", str(slow)
    except OSError as error:
        code, reason, message = 507, "InternalError", f"the state cannot be saved: {error}; nothing was changed"
    except web.HTTPException as error:
        reasons = {404: "NotFound", 405: "MethodNotAllowed", 413: "RequestEntityTooLarge"}
        code, reason, message = error.status, reasons.get(error.status, "BadRequest"), error.reason
    body = {"apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure"}
    headers = {hdrs.WWW_AUTHENTICATE: "Bearer"} if code == 401 else {hdrs.CONNECTION: "close"} if code == 408 else {}
    told = {**body, "code": code, "reason": reason, "message": message}
    return web.json_response(told, status=code, headers=headers)
