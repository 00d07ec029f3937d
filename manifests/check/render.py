"""Writes an overlay's endpoints as folders of YAML, one a system, for the rollout's setting `manifests`."""

import tempfile
from pathlib import Path

import yaml

from manifests.check.build import build, overlay_directory
from serving.contract.errors import SluiceError


def render(overlay: str, target: Path) -> None:
    """Write ``target/<system>/{servingruntime,inferenceservice}.yaml``; ``target`` must be new or an empty folder.

    Nothing half-written stays. Raises SluiceError when there is something at ``target`` already.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise SluiceError(f"{target} is there already; name a new folder, or remove it first")
    found = build(overlay_directory(overlay) / "serving")
    (runtime,) = (o for o in found if o["kind"] == "ServingRuntime")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made = Path(scratch) / "made"
        for service in (o for o in found if o["kind"] == "InferenceService"):
            folder = made / service["metadata"]["name"]
            folder.mkdir(parents=True)
            for one in (runtime, service):
                text = yaml.safe_dump(one, sort_keys=False)
                (folder / f"{one['kind'].lower()}.yaml").write_text(text)
        if target.is_dir():
            target.rmdir()
        made.rename(target)
