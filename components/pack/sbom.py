"""sbom.json beside bundle.json: the bill of materials of a bundle, in CycloneDX 1.6 (JSON).

The base model with its commit, licence and hashes, the adapter, digests of data and code, every variant's files with
their hashes, and the Python packages that serving needs, as they were when the bundle was made. It holds no time and no
serial number, so that the same bundle made twice is the same.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from serving.contract.bundle import Bundle
from serving.contract.files import atomic_file

NAME = "sbom.json"
Component = dict[str, Any]
# Names of licences as model cards and packages write them, to SPDX's.
_SPDX = {
    name.lower(): name
    for name in ("Apache-2.0", "MIT", "CC-BY-4.0", "CC-BY-SA-4.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MPL-2.0")
}


def write_sbom(bundle: Bundle, license: str, weights: Mapping[str, str], directory: Path) -> None:
    """Write ``directory/sbom.json``, whole or not at all.

    ``license`` and ``weights`` (SHA-256 by file name) are the base model's; ``directory`` holds the variants already.
    """
    packages = list(_packages())
    made = [_base(bundle, license, weights), *_adapter(bundle), *_digests(bundle), *_variants(bundle, directory)]
    whole = {"type": "machine-learning-model", "bom-ref": "bundle", "name": f"{bundle.system}: {bundle.task}"}
    told = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": whole},
        "components": [*made, *packages],
        "dependencies": [{"ref": "bundle", "dependsOn": [part["bom-ref"] for part in (*made, *packages)]}],
    }
    with atomic_file(directory / NAME) as scratch:
        scratch.write_text(json.dumps(told, indent=1) + "\n")


def _base(bundle: Bundle, license: str, weights: Mapping[str, str]) -> Component:
    name, _, commit = bundle.base_model.partition("@")
    made: Component = {"type": "machine-learning-model", "bom-ref": "base-model", "name": name or "unknown"}
    if commit:
        made["version"] = commit
    if license:
        made["licenses"] = [_license(license)]
    if weights:
        made["components"] = [_file(f"base-model/{file}", file, sha256) for file, sha256 in weights.items()]
    return made


def _adapter(bundle: Bundle) -> Iterator[Component]:
    if bundle.adapter:
        told = {"type": "machine-learning-model", "bom-ref": "adapter", "name": f"{bundle.system} LoRA"}
        yield {**told, "properties": [{"name": key, "value": str(value)} for key, value in bundle.adapter.items()]}


def _digests(bundle: Bundle) -> Iterator[Component]:
    """Our own digests are shorter than CycloneDX' hashes, so they are versions."""
    yield {"type": "data", "bom-ref": "data", "name": "training data", "version": bundle.lineage.data}
    if bundle.lineage.code:
        yield {"type": "application", "bom-ref": "code", "name": "sluice", "version": bundle.lineage.code}


def _variants(bundle: Bundle, directory: Path) -> Iterator[Component]:
    for name, variant in sorted(bundle.variants.items()):
        place = directory / variant.file
        for file in sorted(f for f in place.rglob("*") if f.is_file()) if place.is_dir() else [place]:
            with file.open("rb") as stream:
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            path = str(file.relative_to(directory))
            yield _file(f"variant/{name}/{path}", path, sha256)


def _file(ref: str, name: str, sha256: str) -> Component:
    return {"type": "file", "bom-ref": ref, "name": name, "hashes": [{"alg": "SHA-256", "content": sha256}]}


def _license(name: str) -> dict[str, Any]:
    known = _SPDX.get(name.lower())
    return {"license": {"id": known} if known else {"name": name}}


def _packages() -> Iterator[Component]:
    """What `pip install sluice`, without extras, brings: serving's packages, each with what it needs itself."""
    waiting, seen = [Requirement("sluice")], {"sluice"}
    found: dict[str, Component] = {}
    while waiting:
        wanted = waiting.pop()
        try:
            about = distribution(wanted.name)
        except PackageNotFoundError:  # one of another platform
            continue
        name = canonicalize_name(wanted.name)
        if name != "sluice":
            found[name] = _package(name, about)
        for need in map(Requirement, about.requires or []):
            asked = need.marker is None or any(need.marker.evaluate({"extra": e}) for e in ("", *wanted.extras))
            key = f"{canonicalize_name(need.name)}{sorted(need.extras)}"
            if asked and key not in seen:
                seen.add(key)
                waiting.append(need)
    yield from (found[name] for name in sorted(found))


def _package(name: str, about: Distribution) -> Component:
    purl = f"pkg:pypi/{name}@{about.version}"
    made: Component = {"type": "library", "bom-ref": purl, "name": name, "version": about.version, "purl": purl}
    metadata = about.metadata.json
    # The first is in SPDX's words, the second is anything, up to the licence's whole text.
    if told := metadata.get("license_expression"):
        made["licenses"] = [{"expression": told}]
    elif re.fullmatch(r"[\w .,()+-]{1,80}", told := str(metadata.get("license", ""))):
        made["licenses"] = [_license(told)]
    return made
