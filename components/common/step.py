"""How a plain function becomes a step of a pipeline."""

import os
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict

IMAGE = os.environ.get("SLUICE_IMAGE", "sluice:0.1.0")


def step(function: Callable[..., Any]) -> Any:
    """Decorator: a KFP component that runs in the project's own image (or interpreter), whose body imports us."""
    # Inside a running step KFP's dsl has no `component`, and settings classes are imported from here there.
    from kfp import dsl

    return dsl.component(function, base_image=IMAGE, install_kfp_package=False)


class Settings(BaseModel):
    """Base of every step's settings: frozen, typed, and strict about names, read from one section of the system's YAML.

    KFP hands whole numbers inside a dict over as floats; pydantic turns 3.0 back into 3 and refuses 3.5.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
