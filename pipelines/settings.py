"""One YAML a system: a section for every step that needs more than its parameters."""

import os
from pathlib import Path
from typing import Any

import yaml

from serving.errors import SluiceError

STEPS = (
    "ingest",
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


def load_settings(system: str) -> dict[str, dict[str, Any]]:
    """Read ``pipelines/<system>.yaml``, or the file that ``SLUICE_SETTINGS`` names.

    Returns a dict from step to section; a step without a section runs on its defaults. The step's own settings class
    checks names and types.

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
    if not isinstance(sections, dict) or (unknown := set(sections) - set(STEPS)):
        raise SluiceError(
            f"settings {path}: expected sections among {', '.join(STEPS)}"
            + (f"; unknown: {', '.join(sorted(unknown))}" if isinstance(sections, dict) else "")
        )
    return {step: sections.get(step) or {} for step in STEPS}
