"""One YAML a system: a section for every step that needs more than its parameters."""

import ast
import functools
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

import components
from pipelines.systems import folder, releases
from serving.contract.errors import SluiceError

SERVING = "serving"


@functools.cache
def rooms() -> dict[str, Path]:
    """Every step's folder in components/ by name, with the file of its components."""
    found = [file for place in components.__path__ for file in sorted(Path(place).glob("*/component.py"))]
    return {file.parent.name: file for file in reversed(found)}


@functools.cache
def steps() -> frozenset[str]:
    """The steps that have a section in a system's YAML: those with a component that takes ``settings``."""

    def takes(file: Path) -> bool:
        found = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.FunctionDef))
        return any(argument.arg == "settings" for node in found for argument in node.args.args)

    return frozenset(room for room, file in rooms().items() if takes(file))


def load_settings(system: str) -> dict[str, dict[str, Any]]:
    """Read the ``settings.yaml`` beside a system's declaration, or the file that ``SLUICE_SETTINGS`` names.

    Returns a dict from step to section; a step without a section runs on its defaults. The step's own settings class
    checks names and types. The section ``serving`` is no step's: the rollout's has it under that name, since it starts
    what serves. A system of several endpoints has a section for each, with the steps' sections inside.

    Raises:
        SluiceError: the file is missing, is not YAML, names a step that does not exist, or is wrong about ``serving``.
    """
    path = Path(os.environ.get("SLUICE_SETTINGS") or folder(system) / "settings.yaml")
    own = [section for section in releases(system).values() if section]
    try:
        sections = yaml.safe_load(path.read_text()) or {}
    except OSError as error:
        raise SluiceError(f"settings {path}: {error.strerror}; name a readable YAML file with --settings") from error
    except yaml.YAMLError as error:
        raise SluiceError(f"settings {path}: not YAML: {error}") from error
    whole = _checked(path, "", sections, {*steps(), SERVING, *own})
    return whole | {name: _checked(path, f"{name}: ", whole[name], {*steps(), SERVING}) for name in own}


def _checked(path: Path, place: str, sections: Any, known: Collection[str]) -> dict[str, dict[str, Any]]:
    if not isinstance(sections, dict) or (unknown := set(sections) - set(known)):
        raise SluiceError(
            f"settings {path}: {place}expected sections among {', '.join(sorted(known))}"
            + (f"; unknown: {', '.join(sorted(unknown))}" if isinstance(sections, dict) else "")
        )
    found = {name: sections.get(name) or {} for name in known}
    if serving := found.pop(SERVING):
        found["rollout"] = {**found["rollout"], SERVING: _serving(path, place, serving)}
    return found


def _serving(path: Path, place: str, section: Any) -> Any:
    """The section as it is; a mistake in it would show only when everything else is done."""
    from pydantic import ValidationError

    from components.rollout.settings import ServingSettings

    try:
        ServingSettings.model_validate(section)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (SERVING, *first["loc"])))
        raise SluiceError(f"settings {path}: {place}{where}: {first['msg']}") from error
    return section
