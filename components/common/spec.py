"""``sluice.json``: what a model directory does not say about itself: its task, its origin, how it is used."""

import json
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from components.tasks import DESCRIPTION
from serving.contract.errors import SluiceError

SPEC_FILE = DESCRIPTION


class ModelSpec(BaseModel):
    """What every model directory says: its task, the id it came from, and the LoRA that was merged in (or None).

    ``license`` and ``weights`` (SHA-256 by file) are those of the files that the base model was read from.
    """

    model_config = ConfigDict(frozen=True)
    task: str
    base_model: str
    adapter: dict[str, Any] | None = None
    license: str = ""
    weights: dict[str, str] = {}

    @classmethod
    def read(cls, directory: Path | str) -> Self:
        """Read the spec of a model directory; raises `SluiceError` when it is missing or incomplete."""
        path = Path(directory) / SPEC_FILE
        if not path.is_file():
            raise SluiceError(
                f"{directory}: no {SPEC_FILE}, so it is no model directory; make one with components/base"
            )
        try:
            return cls.model_validate_json(path.read_text())
        except ValidationError as error:
            raise SluiceError(f"{path}: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}") from error

    def write(self, directory: Path) -> None:
        """Write ``sluice.json`` into ``directory``; an absent adapter is left out."""
        (directory / SPEC_FILE).write_text(json.dumps(self.model_dump(exclude_none=True), indent=1))


class Spec(ModelSpec):
    """How an encoder is to be used.

    ``pooling`` and ``normalize`` turn token vectors into an embedding of ``dim`` floats, ``max_tokens`` is the window
    in tokens.
    """

    task: str = "retrieval"
    pooling: Literal["mean", "cls"]
    normalize: bool = True
    max_tokens: int
    dim: int


def read_spec(directory: Path | str) -> Spec:
    """The spec of an encoder's directory; raises `SluiceError` when it is missing or incomplete."""
    return Spec.read(directory)
