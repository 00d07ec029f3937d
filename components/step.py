"""How a plain function becomes a step of a pipeline."""

import functools
import os

from kfp import dsl
from pydantic import BaseModel, ConfigDict

IMAGE = os.environ.get("SLUICE_IMAGE", "sluice:0.1.0")

step = functools.partial(dsl.component, base_image=IMAGE, install_kfp_package=False)
"""Decorator: a KFP component that runs in the project's own image (or interpreter), where its body imports the project."""


class Settings(BaseModel):
    """Base of every step's settings: frozen, typed, and strict about names, read from one section of the system's YAML.

    KFP hands whole numbers inside a dict over as floats; pydantic turns 3.0 back into 3 and refuses 3.5.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
