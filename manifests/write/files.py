"""Which file holds which part, and what is not as the systems declare it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from manifests.write import parts
from pipelines.systems import Endpoint, Graph, folder, systems
from serving.contract.errors import SluiceError
from serving.contract.task import find_task

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = "# Written by `python -m manifests.write` from the systems' declarations: change it there.\n"
_PART = re.compile(
    r"^(?P<begin>(?P<margin> *)# written by `python -m manifests\.write`: (?P<name>[a-z ]+)\n)"
    r".*?^(?P<end>(?P=margin)# end of what is written$)",
    re.MULTILINE | re.DOTALL,
)
_ROUTES = re.compile(r'(route=~\\?")v1\|v2\|grpc[^"\\]*')


@dataclass(frozen=True)
class Declared:
    """The endpoints and graphs of some systems, by name."""

    endpoints: tuple[Endpoint, ...]
    graphs: tuple[Graph, ...]

    @property
    def routes(self) -> list[str]:
        """The labels of the routes on which a model is asked, in metrics: every model's, then those of the tasks."""
        own = {route.label for one in self.endpoints for route in find_task(one.task, one.name).routes}
        return ["v1", "v2", "grpc", *sorted(own)]


def declared(elsewhere: bool) -> Declared:
    """What the systems of this repository serve, or all that are found: ``elsewhere`` on PYTHONPATH too."""
    own = ROOT / "pipelines" / "systems"
    chosen = [system for name, system in systems().items() if elsewhere or folder(name).parent == own]
    return Declared(
        tuple(sorted((one for system in chosen for one in system.endpoints), key=lambda one: one.name)),
        tuple(system.graph for system in chosen if system.graph),
    )


def outdated(root: Path, found: Declared) -> Iterator[tuple[Path, str]]:
    """Every file below ``root`` (a repository) that is not as declared, with the text that it should have.

    Raises:
        SluiceError: a file that holds a part has no place for it, or there is a folder for what nobody declares.
    """
    base = root / "manifests" / "base"
    known = {"runtime", *(one.name for one in found.endpoints), *(one.name for one in found.graphs)}
    if strange := sorted(place.name for place in base.iterdir() if place.is_dir() and place.name not in known):
        raise SluiceError(f"{base}: no system declares {', '.join(strange)}; remove the folder, or declare it")
    for name, text in (_whole(found) | _lines(root, found)).items():
        if not (root / name).is_file() or (root / name).read_text() != text:
            yield root / name, text
    blocks, manifests = _blocks(found), root / "manifests"
    watching = {str(path.relative_to(manifests)) for path in (manifests / "monitoring").rglob("*") if path.is_file()}
    for path in (manifests / name for name in sorted({*blocks, *watching})):
        before = path.read_text()
        after = _filled(path, before, blocks.get(str(path.relative_to(manifests)), {}))
        after = _ROUTES.sub(lambda start: start[1] + "|".join(found.routes), after)
        if before != after:
            yield path, after


def _whole(found: Declared) -> dict[str, str]:
    """Files that are written from the first line to the last."""
    files = {f"load_tests/slo/{one.name}.yaml": WRITTEN + parts.promise(one) for one in found.endpoints}
    for one in found.endpoints:
        place = f"manifests/base/{one.name}"
        files[f"{place}/inferenceservice.yaml"] = WRITTEN + parts.service(one)
        files[f"{place}/kustomization.yaml"] = WRITTEN + parts.kustomization("../runtime", "inferenceservice.yaml")
    for graph in found.graphs:
        files[f"manifests/base/{graph.name}/inferencegraph.yaml"] = WRITTEN + parts.graph(graph)
        files[f"manifests/base/{graph.name}/kustomization.yaml"] = WRITTEN + parts.kustomization("inferencegraph.yaml")
    services = [f"{one.name}/inferenceservice.yaml" for one in found.endpoints]
    everything = parts.kustomization("runtime", *services, *(graph.name for graph in found.graphs))
    return files | {"manifests/base/kustomization.yaml": WRITTEN + everything}


def _blocks(found: Declared) -> dict[str, dict[str, str]]:
    """Parts of files that people write otherwise: file, then name of the part to its text."""
    endpoints, graphs = found.endpoints, found.graphs
    return {
        "platform/poddisruptionbudgets.yaml": {"budgets": parts.budgets(endpoints)},
        "platform/networkpolicies.yaml": {"who asks a generator": parts.asking_generator(endpoints)},
        "components/keda/kustomization.yaml": {"queues": parts.scaling(endpoints)},
        "components/spread/kustomization.yaml": {"replicas": parts.spread(endpoints)},
        "components/storage-s3/kustomization.yaml": {"bundles": parts.storage(endpoints, "s3://sluice/bundles/{name}")},
        "components/storage-oci/kustomization.yaml": {
            "bundles": parts.storage(endpoints, "oci://registry.example.com/{name}:0.1.0")
        },
        "components/standard/hosts.yaml": {"hosts": parts.hosts(graphs)},
        "components/standard/kustomization.yaml": {
            "steps": parts.addressed(graphs),
            "addresses": parts.addresses(graphs),
        },
        "components/values/kustomization.yaml": {"sizes": parts.sizes(endpoints)},
        "monitoring/rules/slo.yaml": {"objectives": parts.objectives(endpoints)},
    }


def _filled(path: Path, text: str, blocks: dict[str, str]) -> str:
    """The file with every part between its two comments as it should be."""
    if sorted(match["name"] for match in _PART.finditer(text)) != sorted(blocks):
        raise SluiceError(
            f"{path}: expected {' and '.join(blocks)}, each once, between a comment that names it and the comment "
            '"end of what is written", both as deeply indented; take them from the file in git'
        )
    return _PART.sub(lambda part: part["begin"] + indent(blocks[part["name"]], part["margin"]) + part["end"], text)


def _lines(root: Path, found: Declared) -> dict[str, str]:
    """The overlays' values.env with a line for each size; a line that is there belongs to who runs the cluster."""
    files = {}
    for path in sorted((root / "manifests" / "overlays").glob("*/values/values.env")):
        text = path.read_text()
        told = {line.partition("=")[0] for line in text.splitlines()}
        missing = {key: value for key, value in parts.settings(found.endpoints).items() if key not in told}
        lines = "".join(f"{key}={value}\n" for key, value in missing.items())
        files[str(path.relative_to(root))] = text + lines
    return files
