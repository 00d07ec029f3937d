"""The graphs in front of several services: created once every service that they name is there."""

import copy
import re
from collections.abc import Mapping
from pathlib import Path

from components.rollout.cluster import ClusterClient
from components.rollout.manifests import base_of, documents
from components.rollout.objects import Object
from serving.contract.errors import SluiceError
from serving.contract.modes import ANNOTATION, STANDARD, deployment_mode


def apply_graphs(cluster: ClusterClient, system: str, base: Path | None = None) -> list[str]:
    """Create or update every InferenceGraph below ``base`` whose steps name ``system``; one sentence for each.

    ``base`` is the folder that has the system's manifests (`base_of`), unless another one is named. A graph waits until
    all its services exist: the last of them to be rolled out brings it. Nothing is changed where the live graph is as
    the manifest wants it. Errors come back as a sentence too, since a graph that cannot be written is no reason to
    withdraw a model that passed its gates.
    """
    told = []
    for manifest in graphs_of(system, base):
        name = manifest["metadata"]["name"]
        try:
            found = {service: cluster.find(service) for service in services_of(manifest)}
            live = {service: one for service, one in found.items() if one is not None}
            missing = [service for service in found if service not in live]
            done = f"waits for {', '.join(missing)}" if missing else cluster.ensure_graph(fitting(manifest, live))
        except SluiceError as error:
            done = f"could not be written: {error}"
        told.append(f"InferenceGraph {name} {done}")
    return told


def fitting(manifest: Object, live: Mapping[str, Object]) -> Object:
    """The graph in the mode of the ``live`` services behind it, by name.

    In Standard mode KServe sends a step with a serviceName to stable's own Service: past the split, and nowhere once a
    promotion has deleted it, with the graph still Ready. There each step gets the InferenceService's own URL, which
    stays. Raises SluiceError where a service has none, or one that leads to a predictor.
    """
    if STANDARD not in {deployment_mode(service) for service in live.values()}:
        return manifest
    made = copy.deepcopy(manifest)
    made["metadata"]["annotations"] = {**(made["metadata"].get("annotations") or {}), ANNOTATION: STANDARD}
    for step in (step for node in made["spec"]["nodes"].values() for step in node.get("steps") or []):
        if name := step.pop("serviceName", ""):
            step["serviceUrl"] = _route(name, live[name])
    return made


def _route(name: str, service: Object) -> str:
    """Where a graph's step asks a model: by protocol v1, whose answers are one another's questions."""
    url = str((service.get("status") or {}).get("url") or "").rstrip("/")
    if not url:
        raise SluiceError(f"InferenceService {name!r} has no URL yet; the next rollout brings the graph")
    if re.search(r"-predictor\.[a-z0-9-]+\.svc|/peers/[^/]+-predictor", url):
        raise SluiceError(
            f"InferenceService {name!r} has no address but its predictor's ({url}), which a promotion deletes; give "
            "KServe a gateway (ingressDomain in inferenceservice-config)"
        )
    return f"{url}/v1/models/{name}:predict"


def graphs_of(system: str, base: Path | None = None) -> list[Object]:
    """The InferenceGraphs among the manifests that have a step for ``system``."""
    base = base or base_of(system)
    graphs = [d for place in sorted(base.iterdir()) for _, d in documents(place) if d.get("kind") == "InferenceGraph"]
    return [graph for graph in graphs if system in services_of(graph)]


def services_of(graph: Object) -> list[str]:
    """Names of the InferenceServices that a graph's steps go to, in order, each once."""
    steps = [step for node in graph["spec"]["nodes"].values() for step in node.get("steps") or []]
    return list(dict.fromkeys(step["serviceName"] for step in steps if step.get("serviceName")))
