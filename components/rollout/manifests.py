"""The very files that a cluster gets: manifests/base/<system>, and the ServingRuntime that all systems share."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from components.rollout.objects import Object, predictor_of
from serving.errors import SluiceError

BASE = Path(__file__).parents[2] / "manifests" / "base"


@dataclass(frozen=True)
class Manifests:
    """One system's InferenceService and ServingRuntime."""

    service: Object
    runtime: Object

    def predictor(self, uri: str, runtime: str) -> Object:
        """The predictor that serves the bundle at ``uri`` with the named runtime."""
        return predictor_of(self.service, uri, runtime)


def read_manifests(system: str, directory: Path | str = "") -> Manifests:
    """Read the InferenceService and the ServingRuntime from the YAML in ``directory`` (manifests/base/<system>)."""
    place = Path(directory) if directory else BASE / system
    found: dict[str, Object] = {}
    for path, document in documents(place):
        if document.get("kind") in ("InferenceService", "ServingRuntime"):
            if document["kind"] in found:
                raise SluiceError(f"{path}: a second {document['kind']} in {place}; expected one")
            found[document["kind"]] = document
    missing = [kind for kind in ("InferenceService", "ServingRuntime") if kind not in found]
    if missing:
        raise SluiceError(f"{place}: no {' and no '.join(missing)} in its YAML files; see manifests/README")
    service = found["InferenceService"]
    if service["metadata"].get("name") != system:
        service = {**service, "metadata": {**service["metadata"], "name": system}}
    return Manifests(service, found["ServingRuntime"])


def documents(place: Path) -> list[tuple[Path, Object]]:
    """Every object of a kustomization with its file, directories among its resources included; else of all YAML."""
    listed = place / "kustomization.yaml"
    names = yaml.safe_load(listed.read_text())["resources"] if listed.is_file() else None
    found: list[tuple[Path, Object]] = []
    for path in [place / n for n in names] if names is not None else sorted(place.glob("*.yaml")):
        if path.is_dir():
            found += documents(path)
        else:
            found += [(path, d) for d in yaml.safe_load_all(path.read_text()) if isinstance(d, dict)]
    return found
