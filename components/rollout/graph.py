"""The graphs in front of several services: created once every service that they name is there."""

from pathlib import Path

from components.rollout.cluster import Cluster
from components.rollout.manifests import BASE, documents
from components.rollout.objects import Object
from serving.errors import SluiceError


def apply_graphs(cluster: Cluster, system: str, base: Path = BASE) -> list[str]:
    """Create or update every InferenceGraph below ``base`` whose steps name ``system``; one sentence for each.

    A graph waits until all its services exist: the last of them to be rolled out brings it. Nothing is changed where
    the live graph is as the manifest wants it. Errors come back as a sentence too, since a graph that cannot be
    written is no reason to withdraw a model that passed its gates.
    """
    told = []
    for manifest in graphs_of(system, base):
        name = manifest["metadata"]["name"]
        try:
            missing = [service for service in services_of(manifest) if cluster.find(service) is None]
            done = f"waits for {', '.join(missing)}" if missing else cluster.ensure_graph(manifest)
        except SluiceError as error:
            done = f"could not be written: {error}"
        told.append(f"InferenceGraph {name} {done}")
    return told


def graphs_of(system: str, base: Path = BASE) -> list[Object]:
    """The InferenceGraphs among the manifests that have a step for ``system``."""
    graphs = [d for place in sorted(base.iterdir()) for _, d in documents(place) if d.get("kind") == "InferenceGraph"]
    return [graph for graph in graphs if system in services_of(graph)]


def services_of(graph: Object) -> list[str]:
    """Names of the InferenceServices that a graph's steps go to, in order, each once."""
    steps = [step for node in graph["spec"]["nodes"].values() for step in node.get("steps") or []]
    return list(dict.fromkeys(step["serviceName"] for step in steps if step.get("serviceName")))
