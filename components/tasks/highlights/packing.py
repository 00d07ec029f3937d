"""What a highlighter's bundle holds beside its encoder: the head that scores sentences."""

import shutil
from pathlib import Path

from components.pack.packing import Given, Packed, PackSettings
from serving.contract.errors import SluiceError
from serving.highlights.head import NAME
from serving.highlights.schema import INPUTS, OUTPUTS


class Settings(PackSettings):
    """Section ``pack`` of a highlighter."""


def pack(given: Given, settings: Settings, out: Path) -> Packed:
    """Copy head.json (`SluiceError` without it) beside the encoder; figures: what quantize measured of the variant."""
    if not (given.variants / NAME).is_file():
        raise SluiceError(f"{given.variants}: no {NAME}; quantize the model again")
    shutil.copyfile(given.variants / NAME, out / NAME)
    chosen = given.description["variants"][given.description["variant"]]
    metrics = {name: float(value) for name, value in chosen.items() if name.startswith(("rouge", "same_bullets"))}
    return Packed(INPUTS, OUTPUTS, metrics)
