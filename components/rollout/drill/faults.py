"""Broken canaries: bundles with a fault, and manifests whose server is started through the faulty one."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml

from components.rollout.manifests import read_manifests
from serving.errors import SluiceError


def copy_bundle(bundle: Path, target: Path, note: str) -> Path:
    """Copy a bundle by hard links, its ``bundle.json`` marked with ``note`` so that its content digest is another."""
    shutil.copytree(bundle, target, copy_function=_link, dirs_exist_ok=True)
    described = json.loads((bundle / "bundle.json").read_text())
    described["lineage"] = {**(described.get("lineage") or {}), "code": note}
    _replace(target / "bundle.json", json.dumps(described, indent=1).encode())
    return target


def wrong_answers(bundle: Path, target: Path) -> Path:
    """A bundle whose index belongs to another source tree: every source that it names is the wrong file."""
    import pandas as pd

    copy_bundle(bundle, target, "drill: wrong answers")
    index = target / "index" / "passages.parquet"
    passages = pd.read_parquet(index)
    passages["path"] = "elsewhere/" + passages["path"]
    index.unlink()
    passages.to_parquet(index)
    return target


def corrupt(bundle: Path, target: Path) -> Path:
    """A bundle whose encoder was cut short, as by a full disk: no server can load it."""
    copy_bundle(bundle, target, "drill: corrupt")
    for encoder in sorted((target / "encoder").glob("*.onnx")):
        _replace(encoder, encoder.read_bytes()[:1000])
    return target


def faulty_manifests(system: str, directory: str, target: Path, flags: list[str]) -> Path:
    """Manifests whose runtime starts the server through `faulty_server` with ``flags``; the bundle is a sound one."""
    found = read_manifests(system, directory)
    runtime: dict[str, Any] = json.loads(json.dumps(found.runtime))
    container = next(c for c in runtime["spec"]["containers"] if c["name"] == "kserve-container")
    container["command"] = [
        "python",
        "-m",
        "components.rollout.drill.faulty_server",
        *flags,
        "--",
        *container["command"],
    ]
    target.mkdir(parents=True, exist_ok=True)
    (target / "service.yaml").write_text(yaml.safe_dump_all([found.service, runtime]))
    return target


def questions_of(bundle: Path, most: int = 60) -> list[dict[str, Any]]:
    """Labelled questions made from the bundle's own passages: their summaries, with the file they came from as gold."""
    import pandas as pd

    index = bundle / "index" / "passages.parquet"
    if not index.is_file():
        raise SluiceError(f"{bundle}: no index/passages.parquet, so no questions to ask; name a bundle with an index")
    table = pd.read_parquet(index, columns=["passage_id", "path", "name", "summary"])
    said = table[table["summary"].fillna("").str.len() > 15]
    table = (said if len(said) >= 10 else table).drop_duplicates(
        "path" if said["path"].nunique() >= most else "passage_id"
    )
    table = table.sample(min(most, len(table)), random_state=0)
    personas = ("novice", "experienced", "researcher")
    return [
        {
            "question_id": str(row.passage_id),
            "question": str(row.summary or row.name)[:300],
            "persona": personas[number % 3],
            "gold_paths": [str(row.path)],
        }
        for number, row in enumerate(table.itertuples(index=False))
    ]


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _replace(path: Path, content: bytes) -> None:
    path.unlink()  # it may be a hard link: writing into it would change the original
    path.write_bytes(content)
