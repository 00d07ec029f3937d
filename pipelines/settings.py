"""One YAML a system: a section for every step that needs more than its parameters."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from serving.errors import SluiceError

STEPS = (
    "ingest",
    "recordings",
    "utterances",
    "transcribe",
    "segment",
    "summaries",
    "make_qa",
    "validate",
    "featurize",
    "tune",
    "train",
    "quantize",
    "pack",
    "evaluate",
    "gate",
    "register",
    "rollout",
)


def load_settings(system: str, releases: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Read ``pipelines/<system>.yaml``, or the file that ``SLUICE_SETTINGS`` names.

    Returns a dict from step to section; a step without a section runs on its defaults. The step's own settings class
    checks names and types. A system of several ``releases`` has a section for each, with the steps' sections inside.

    Raises:
        SluiceError: the file is missing, is not YAML, or names a step that does not exist.
    """
    path = Path(os.environ.get("SLUICE_SETTINGS") or Path(__file__).with_name(f"{system}.yaml"))
    try:
        sections = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise SluiceError(f"settings {path}: {error.strerror}; name a readable YAML file with --settings") from error
    except yaml.YAMLError as error:
        raise SluiceError(f"settings {path}: not YAML: {error}") from error
    whole = _checked(path, "", sections, {*STEPS, *releases})
    return whole | {name: _checked(path, f"{name}: ", whole[name], set(STEPS)) for name in releases}


def _checked(path: Path, place: str, sections: Any, known: Collection[str]) -> dict[str, dict[str, Any]]:
    if not isinstance(sections, dict) or (unknown := set(sections) - set(known)):
        raise SluiceError(
            f"settings {path}: {place}expected sections among {', '.join(sorted(known))}"
            + (f"; unknown: {', '.join(sorted(unknown))}" if isinstance(sections, dict) else "")
        )
    return {name: sections.get(name) or {} for name in known}
