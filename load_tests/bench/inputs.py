"""What the bench works on: a bundle, the fp32 model of the same weights, and questions about its source."""

import json
from pathlib import Path

from load_tests.questions import read_questions
from load_tests.slo import read_slo
from serving.contract.bundle import NAME, Bundle
from serving.contract.errors import SluiceError
from serving.contract.files import home

GENERATED = 240


def find_bundle(named: Path | None) -> Path:
    """The bundle that is named, or the newest that a release kept in this home."""
    if named is not None:
        Bundle.read(named)
        return named
    kept = sorted((home() / "bundles").glob(f"*/*/{NAME}"), key=lambda path: path.stat().st_mtime)
    if not kept:
        raise SluiceError(f"no bundle in {home() / 'bundles'}; run `make demo` first, or name one with --bundle")
    return kept[-1].parent


def find_model(named: Path | None, bundle: Bundle) -> Path:
    """The model directory that is named, or the newest of this home's runs with the bundle's base and adapter."""
    if named is not None:
        if not (named / "sluice.json").is_file():
            raise SluiceError(f"{named}: no sluice.json; name a model directory, as the step 'merge' writes it")
        return named
    found = [path for path in (home() / "runs").rglob("sluice.json") if _fits(path, bundle)]
    if not found:
        raise SluiceError(f"no model of the bundle's weights in {home() / 'runs'}; name one with --model-dir")
    return max(found, key=lambda path: path.stat().st_mtime).parent


def _fits(path: Path, bundle: Bundle) -> bool:
    try:
        spec = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    whole = (path.parent / "config.json").is_file()
    return bool(whole and spec.get("base_model") == bundle.base_model and spec.get("adapter") == bundle.adapter)


def make_questions(bundle: Path, file: Path | None) -> tuple[str, ...]:
    """The personas' questions and one about each of many passages, so that no cache could answer."""
    import pandas as pd

    own = [one.model_dump() for one in read_slo("codebase").questions]
    asked = [str(row["question"]) for row in (read_questions(file) if file else own)]
    names = pd.read_parquet(bundle / "index" / "passages.parquet", columns=["name"])["name"].drop_duplicates()
    some = names.sample(min(GENERATED, len(names)), random_state=0)
    return (*asked, *(f"What does {name} do?" for name in some))
