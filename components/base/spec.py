"""``sluice.json``: what a model directory does not say about itself, namely how token vectors become one embedding."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from serving.errors import SluiceError

SPEC_FILE = "sluice.json"


class Spec(BaseModel):
    """How an encoder is to be used.

    ``base_model`` is the id it came from, ``pooling`` and ``normalize`` turn token vectors into an embedding of ``dim``
    floats, ``max_tokens`` is the window in tokens, and ``adapter`` names the LoRA that was merged in (or None).
    """

    model_config = ConfigDict(frozen=True)
    base_model: str
    pooling: Literal["mean", "cls"]
    normalize: bool = True
    max_tokens: int
    dim: int
    adapter: dict[str, Any] | None = None

    def write(self, directory: Path) -> None:
        """Write ``sluice.json`` into ``directory``; an absent adapter is left out."""
        (directory / SPEC_FILE).write_text(json.dumps(self.model_dump(exclude_none=True), indent=1))


def read_spec(directory: Path | str) -> Spec:
    """Read the spec of a model directory; raises `SluiceError` when it is missing or incomplete."""
    path = Path(directory) / SPEC_FILE
    if not path.is_file():
        raise SluiceError(f"{directory}: no {SPEC_FILE}, so it is no model directory; make one with components/base")
    try:
        return Spec.model_validate_json(path.read_text())
    except ValidationError as error:
        raise SluiceError(f"{path}: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}") from error
