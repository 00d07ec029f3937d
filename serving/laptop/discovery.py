"""What clients ask before they ask for objects: versions, groups, resources; and kubectl's tables."""

from typing import Any, NamedTuple

from aiohttp import web


class Resource(NamedTuple):
    """A kind that the API serves."""

    kind: str
    version: str
    short: str


RESOURCES = {
    "inferenceservices": Resource("InferenceService", "v1beta1", "isvc"),
    "servingruntimes": Resource("ServingRuntime", "v1alpha1", "sr"),
    "inferencegraphs": Resource("InferenceGraph", "v1alpha1", "ig"),
}
_GROUP = "serving.kserve.io"


def _group() -> dict[str, Any]:
    versions = [{"groupVersion": f"{_GROUP}/{v}", "version": v} for v in ("v1beta1", "v1alpha1")]
    return {"name": _GROUP, "versions": versions, "preferredVersion": versions[0]}


def _resources(version: str) -> dict[str, Any]:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    rows = [
        {
            "name": plural,
            "singularName": r.kind.lower(),
            "namespaced": True,
            "kind": r.kind,
            "verbs": verbs,
            "shortNames": [r.short],
        }
        for plural, r in RESOURCES.items()
        if r.version == version
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{_GROUP}/{version}", "resources": rows}


PATHS: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "32", "gitVersion": "v1.32.0+sluice-laptop", "platform": "laptop"},
    "/healthz": {"status": "ok"},
    "/livez": {"status": "ok"},
    "/readyz": {"status": "ok"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]},
    f"/apis/{_GROUP}": {"kind": "APIGroup", "apiVersion": "v1", **_group()},
    f"/apis/{_GROUP}/v1beta1": _resources("v1beta1"),
    f"/apis/{_GROUP}/v1alpha1": _resources("v1alpha1"),
}


async def answer(request: web.Request) -> web.Response:
    """Answer one of `PATHS`."""
    return web.json_response(PATHS[request.path.rstrip("/") or "/"])


def table(obj: dict[str, Any]) -> dict[str, Any] | None:
    """What kubectl prints for services, graphs and lists of them (their CRDs' printer columns); None for others."""
    kind = str(obj.get("kind")).removesuffix("List")
    if kind not in _COLUMNS:
        return None
    columns = _COLUMNS[kind]
    rows = [{"cells": _cells(o)[: len(columns) - 1] + _cells(o)[-1:], "object": o} for o in obj.get("items", [obj])]
    definitions = [
        {"name": c, "type": "string", "format": "name" if c == "Name" else "", "priority": 0} for c in columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": obj.get("metadata", {}) if "items" in obj else {},
        "columnDefinitions": definitions,
        "rows": rows,
    }


_COLUMNS = {
    "InferenceService": [
        "Name", "URL", "Ready", "Prev", "Latest", "PrevRolledoutRevision", "LatestReadyRevision", "Created",
    ],
    "InferenceGraph": ["Name", "URL", "Ready", "Created"],
}  # fmt: skip


def _cells(obj: dict[str, Any]) -> list[str]:
    status = obj.get("status", {})
    traffic = status.get("components", {}).get("predictor", {}).get("traffic", [])
    ready = next((c["status"] for c in status.get("conditions", []) if c["type"] == "Ready"), "")
    prev: dict[str, Any] = next((t for t in traffic if t.get("tag") == "prev"), {})
    latest: dict[str, Any] = next((t for t in traffic if t.get("latestRevision")), {})
    cells = [status.get("url"), ready, prev.get("percent"), latest.get("percent"), prev.get("revisionName")]
    cells += [latest.get("revisionName"), obj["metadata"]["creationTimestamp"]]
    return [obj["metadata"]["name"], *("" if c is None else str(c) for c in cells)]
