"""What the API server refuses of an InferenceGraph: KServe's CRD and webhook rules, and what would never end."""

import re
from typing import Any

from serving.contract.errors import SluiceError
from serving.contract.modes import deployment_mode
from serving.laptop.graph.condition import parse

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
_SPEC = {
    "affinity", "maxReplicas", "minReplicas", "nodeName", "nodeSelector", "nodes", "resources", "routerTimeouts",
    "scaleMetric", "scaleTarget", "serviceAccountName", "timeout", "tolerations",
}  # fmt: skip
_STEP = {
    "condition", "data", "dependency", "mapPredictionsToInstances", "name", "nodeName", "serviceName", "serviceUrl",
    "weight",
}  # fmt: skip
_TIMEOUTS = {"serverRead", "serverWrite", "serverIdle", "serviceClient"}
_TARGETS = ("serviceName", "serviceUrl", "nodeName")
_ROUTERS = ("Sequence", "Splitter", "Ensemble", "Switch")
Json = dict[str, Any]


def validate_inference_graph(obj: Json) -> None:
    """Raise SluiceError unless ``obj`` is an InferenceGraph that KServe would admit and this laptop can run.

    Stricter than KServe: unknown fields, nodes that do not exist or lead to themselves, and conditions that cannot be
    read are refused at once; there they fail with the first request.
    """
    name = str(obj["metadata"].get("name", ""))
    if not _NAME.match(name):
        raise SluiceError(
            f"metadata.name {name!r}: an InferenceGraph name consists of lower case letters, digits or '-', and starts "
            "with a letter, for example lectures"
        )
    deployment_mode(obj)
    spec = _object(obj.get("spec"), "spec")
    _known(spec, _SPEC, "spec")
    _known(_object(spec.get("routerTimeouts", {}), "spec.routerTimeouts"), _TIMEOUTS, "spec.routerTimeouts")
    nodes = _object(spec.get("nodes"), "spec.nodes")
    if "root" not in nodes:
        raise SluiceError("spec.nodes: a graph needs a node with the name 'root', where requests come in")
    for name, node in nodes.items():
        _node(_object(node, f"spec.nodes.{name}"), nodes, f"spec.nodes.{name}")
    _ends(nodes, "root", ())


def _node(node: Json, nodes: Json, place: str) -> None:
    _known(node, {"routerType", "steps"}, place)
    if node.get("routerType") not in _ROUTERS:
        raise SluiceError(f"{place}.routerType: {node.get('routerType')!r} is not one of {', '.join(_ROUTERS)}")
    steps = node.get("steps") or []
    if not isinstance(steps, list) or not steps:
        raise SluiceError(f"{place}.steps: required, a list with at least one step")
    for index, step in enumerate(steps):
        _step(_object(step, f"{place}.steps[{index}]"), nodes, f"{place}.steps[{index}]")
    names = [step["name"] for step in steps if step.get("name")]
    if doubled := sorted({n for n in names if names.count(n) > 1}):
        raise SluiceError(f"{place}: more than one step has the name {doubled[0]!r}")
    if node["routerType"] == "Splitter":
        weights = [step.get("weight") for step in steps]
        if any(isinstance(w, bool) or not isinstance(w, int) or w < 0 for w in weights) or sum(weights) != 100:
            raise SluiceError(f"{place}: the weights of a Splitter must be whole numbers that add up to 100")
    if node["routerType"] == "Switch" and not all(step.get("condition") for step in steps):
        raise SluiceError(f"{place}: every step of a Switch needs a condition")


def _step(step: Json, nodes: Json, place: str) -> None:
    _known(step, _STEP, place)
    targets = [field for field in _TARGETS if step.get(field)]
    if len(targets) != 1:
        raise SluiceError(
            f"{place}: exactly one of {', '.join(_TARGETS)} is needed; found {', '.join(targets) or 'none'}"
        )
    for field in (*_TARGETS, "condition", "data", "name"):
        if not isinstance(step.get(field, ""), str):
            raise SluiceError(f"{place}.{field}: must be a string")
    if step.get("nodeName") and step["nodeName"] not in nodes:
        raise SluiceError(f"{place}.nodeName: there is no node {step['nodeName']!r} in this graph")
    if step.get("serviceUrl") and not step["serviceUrl"].startswith(("http://", "https://")):
        raise SluiceError(f"{place}.serviceUrl: {step['serviceUrl']!r} must start with http:// or https://")
    if step.get("dependency", "Soft") not in ("Soft", "Hard"):
        raise SluiceError(f"{place}.dependency: {step['dependency']!r} is neither Soft nor Hard")
    if step.get("condition"):
        try:
            parse(step["condition"])
        except SluiceError as error:
            raise SluiceError(f"{place}: {error}") from None


def _ends(nodes: Json, name: str, before: tuple[str, ...]) -> None:
    if name in before:
        raise SluiceError(f"spec.nodes: the node {name!r} leads to itself ({' -> '.join((*before, name))})")
    for step in nodes[name]["steps"]:
        if step.get("nodeName"):
            _ends(nodes, step["nodeName"], (*before, name))


def _object(value: Any, place: str) -> Json:
    if not isinstance(value, dict):
        raise SluiceError(f"{place}: required, an object" if value is None else f"{place}: must be an object")
    return value


def _known(value: Json, names: set[str], place: str) -> None:
    if unknown := sorted(value.keys() - names):
        raise SluiceError(f'{place}: strict decoding error: unknown field "{place}.{unknown[0]}"')
