"""The very files that a cluster gets: manifests/base/<system>, and the ServingRuntime that all systems share."""

import copy
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from components.rollout.modes import fitting, whole_percent
from components.rollout.objects import Object, ServedRelease, predictor_of
from serving.contract.errors import SluiceError

BASE = Path(__file__).parents[2] / "manifests" / "base"


def base_of(system: str) -> Path:
    """The folder ``manifests/base`` that has the system: ours, else that of a folder on PYTHONPATH.

    ``python -m manifests.write --to DIR`` writes such a folder for systems that lie elsewhere.
    """
    places = [BASE, *(Path(place) / "manifests" / "base" for place in sys.path)]
    return next((place for place in places if (place / system).is_dir()), BASE)


@dataclass(frozen=True)
class Manifests:
    """One system's InferenceService and ServingRuntime."""

    service: Object
    runtime: Object

    def predictor(self, uri: str, runtime: str) -> Object:
        """The predictor that serves the bundle at ``uri`` with the named runtime."""
        return predictor_of(self.service, uri, runtime)

    def with_flags(self, flags: list[str]) -> "Manifests":
        """The same with ``flags`` (each ``--name=value``) among the predictor's arguments, in place of its own."""
        service = copy.deepcopy(self.service)
        model = service["spec"]["predictor"]["model"]
        names = {flag.partition("=")[0] for flag in flags}
        kept = [word for word in model.get("args") or [] if word.partition("=")[0] not in names]
        if kept or flags:
            model["args"] = [*kept, *flags]
        return Manifests(service, self.runtime)

    def outdated(self, release: ServedRelease) -> str:
        """What to know where a release is served with other arguments than these, "" where it is not.

        KServe refuses a second predictor of the same bundle in Standard mode, so they wait for the next one.
        """
        live = (release.predictor.get("model") or {}).get("args") or []
        wanted = self.service["spec"]["predictor"]["model"].get("args") or []
        if live == wanted:
            return ""
        return f"served with {' '.join(live) or 'no arguments'}; {' '.join(wanted) or 'none'} come with the next bundle"

    def fitting(self, live: Object | None) -> "Manifests":
        """The same in the mode to roll out in, see `components.rollout.modes.fitting`."""
        return Manifests(*fitting(self.service, self.runtime, live))


def read_manifests(system: str, directory: Path | str = "") -> Manifests:
    """Read the InferenceService and the ServingRuntime from the YAML in ``directory`` (manifests/base/<system>).

    The runtime's image is replaced by ``$SLUICE_SERVING_IMAGE`` where that is set; a canary in the file is left out,
    since the rollout makes its own. Raises SluiceError for a missing object and for a percentage outside 0 to 100.
    """
    place = Path(directory) if directory else base_of(system) / system
    by_kind: dict[str, Object] = {}
    for path, document in documents(place):
        if document.get("kind") in ("InferenceService", "ServingRuntime"):
            if document["kind"] in by_kind:
                raise SluiceError(f"{path}: a second {document['kind']} in {place}; expected one")
            if document["kind"] == "InferenceService":
                check_percents(document, str(path))
            by_kind[document["kind"]] = document
    missing = [kind for kind in ("InferenceService", "ServingRuntime") if kind not in by_kind]
    if missing:
        raise SluiceError(f"{place}: no {' and no '.join(missing)} in its YAML files; see manifests/README")
    service = by_kind["InferenceService"]
    if service["metadata"].get("name") != system:
        service = {**service, "metadata": {**service["metadata"], "name": system}}
    spec = {k: v for k, v in service["spec"].items() if k != "canary"}
    return Manifests({**service, "spec": spec}, _with_image(by_kind["ServingRuntime"]))


def check_percents(service: Object, where: str) -> None:
    """Raise SluiceError where an InferenceService asks for a share of traffic that cannot be.

    KServe lets a canaryTrafficPercent of 150 pass; ``where`` names the file in the sentence.
    """
    spec = service.get("spec") or {}
    percent = (spec.get("predictor") or {}).get("canaryTrafficPercent")
    if percent is not None:
        whole_percent(percent, f"{where}: spec.predictor.canaryTrafficPercent")
    shares = [
        whole_percent(canary.get("trafficPercent"), f"{where}: spec.canary[{at}].trafficPercent")
        for at, canary in enumerate(spec.get("canary") or [])
    ]
    if sum(shares) > 100:
        raise SluiceError(f"{where}: spec.canary: the trafficPercent of all canaries add up to {sum(shares)}")


def _with_image(runtime: Object) -> Object:
    image = os.environ.get("SLUICE_SERVING_IMAGE")
    if not image:
        return runtime
    served = "kserve-container"
    containers = [{**c, "image": image} if c["name"] == served else c for c in runtime["spec"]["containers"]]
    return {**runtime, "spec": {**runtime["spec"], "containers": containers}}


def documents(place: Path) -> list[tuple[Path, Object]]:
    """Every object of a kustomization with its file, directories among its resources included; else of all YAML."""
    listed = place / "kustomization.yaml"
    names = yaml.safe_load(listed.read_text())["resources"] if listed.is_file() else None
    with_files: list[tuple[Path, Object]] = []
    for path in [place / n for n in names] if names is not None else sorted(place.glob("*.yaml")):
        if path.is_dir():
            with_files += documents(path)
        else:
            with_files += [(path, d) for d in yaml.safe_load_all(path.read_text()) if isinstance(d, dict)]
    return with_files
