"""The bundle: the one directory that training hands to serving, described by ``bundle.json``."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.errors import SluiceError
from serving.files import atomic_file

NAME = "bundle.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderSpec(_Part):
    """How the encoder turns a text into a vector; pooling and normalisation stand inside the ONNX graph."""

    pooling: Literal["mean", "cls"] = "mean"
    normalize: bool = True
    dim: int = Field(gt=0)
    max_tokens: int = Field(gt=0)


class Lineage(_Part):
    """Where the bundle comes from: digests of data and code, and the MLflow run that tracked it."""

    data: str
    code: str = ""
    mlflow_run: str | None = None


class Variant(BaseModel):
    """One ONNX file of the same encoder, with what was measured of it (bytes, milliseconds, retained quality)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    file: str
    bytes: int


class Bundle(_Part):
    """The content of ``bundle.json``.

    ``metrics`` are named with their protocol, such as ``recall@10_val_withheld``; ``inputs`` and ``outputs`` are JSON
    schemas of one instance and one result; ``variant`` names the variant that is served unless a caller asks otherwise.
    """

    format: Literal[1] = 1
    system: str
    task: str
    base_model: str
    adapter: dict[str, Any] | None = None
    encoder: EncoderSpec
    lineage: Lineage
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    metrics: dict[str, float] = {}
    variants: dict[str, Variant]
    variant: str

    @classmethod
    def read(cls, directory: Path | str) -> "Bundle":
        """Read ``directory/bundle.json``. Errors: `SluiceError` if it is missing, broken, or of another format."""
        path = Path(directory) / NAME
        try:
            return cls.model_validate(json.loads(path.read_text()))
        except FileNotFoundError:
            raise SluiceError(
                f"{directory}: no {NAME}; name a bundle directory, as the step 'pack' writes it"
            ) from None
        except (ValidationError, json.JSONDecodeError) as error:
            raise SluiceError(f"{path}: not a bundle of format 1; pack it again ({_first(error)})") from error

    def write(self, directory: Path | str) -> None:
        """Write ``bundle.json`` into ``directory``, whole or not at all."""
        with atomic_file(Path(directory) / NAME) as scratch:
            scratch.write_text(json.dumps(self.model_dump(), indent=1) + "\n")

    def file_of(self, variant: str | None = None) -> str:
        """Relative path of a variant's ONNX file (``None``: the chosen one). Errors: `SluiceError` if there is none."""
        name = variant or self.variant
        if name not in self.variants:
            raise SluiceError(f"no variant {name!r} in this bundle; it has {', '.join(sorted(self.variants))}")
        return self.variants[name].file


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
