"""The bundle: the one directory that training hands to serving, described by ``bundle.json``."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file

NAME = "bundle.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderSpec(_Part):
    """How the encoder turns a text into a vector; pooling and normalisation stand inside the ONNX graph."""

    pooling: Literal["mean", "cls"] = "mean"
    normalize: bool = True
    dim: int = Field(gt=0)
    max_tokens: int = Field(gt=0)


class SpeechTokens(_Part):
    """Ids of Whisper's special tokens; ``None`` where the vocabulary has no such token."""

    sot: int
    eot: int
    transcribe: int | None = None
    translate: int | None = None
    no_timestamps: int | None = None
    no_speech: int | None = None
    sot_prev: int | None = None
    timestamp_begin: int | None = None


class SpeechSpec(_Part):
    """What decoding needs to know of a Whisper model (Radford et al., 2022).

    ``frames`` of 10 ms make one window of ``window_s`` seconds; ``languages`` are codes whose tokens the prompt takes
    (none: an English-only model, which takes neither language nor task); ``max_tokens`` bounds prompt and answer
    together; ``alignment_heads`` are [layer, head] of the decoder; ``suppress`` never come out, ``begin_suppress`` not
    as the first token.
    """

    n_mels: int = Field(gt=0)
    frames: int = Field(gt=0)
    window_s: float = Field(gt=0)
    sample_rate: Literal[16000] = 16000
    multilingual: bool = False
    languages: list[str] = []
    max_tokens: int = Field(gt=0)
    tokens: SpeechTokens
    alignment_heads: list[tuple[int, int]]
    suppress: list[int] = []
    begin_suppress: list[int] = []
    n_layers: int = Field(gt=0)
    n_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    d_model: int = Field(gt=0)
    vocab: int = Field(gt=0)


class Lineage(_Part):
    """Where the bundle comes from: digests of data and code, and the MLflow run that tracked it."""

    data: str
    code: str = ""
    mlflow_run: str | None = None


class Variant(BaseModel):
    """One ONNX file, or folder of files, of the same weights, with what was measured (bytes, milliseconds, quality)."""

    model_config = ConfigDict(frozen=True, extra="allow")

    file: str
    bytes: int


class Bundle(_Part):
    """The content of ``bundle.json``.

    ``metrics`` are named with their protocol, such as ``recall@10_val_withheld``; ``inputs`` and ``outputs`` are JSON
    schemas of one instance and one result; ``variant`` names the variant that is served unless a caller asks otherwise.
    ``encoder`` is there where a task encodes texts, ``speech`` where it transcribes; ``spec`` is what only the task
    itself reads, in a shape of its own.
    """

    format: Literal[1] = 1
    system: str
    task: str
    base_model: str
    adapter: dict[str, Any] | None = None
    encoder: EncoderSpec | None = None
    speech: SpeechSpec | None = None
    spec: dict[str, Any] = {}
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

    def text_encoder(self) -> EncoderSpec:
        """The text encoder's spec. Errors: `SluiceError` if this bundle's task has none."""
        if self.encoder is None:
            raise SluiceError(f"bundle of task {self.task!r}: no text encoder described; pack it again")
        return self.encoder

    def speech_model(self) -> SpeechSpec:
        """The speech model's spec. Errors: `SluiceError` if this bundle's task has none."""
        if self.speech is None:
            raise SluiceError(f"bundle of task {self.task!r}: no speech model described; pack it again")
        return self.speech

    def file_of(self, variant: str | None = None) -> str:
        """Relative path of a variant's file or folder (``None``: the chosen one). Errors: `SluiceError` if absent."""
        name = variant or self.variant
        if name not in self.variants:
            raise SluiceError(f"no variant {name!r} in this bundle; it has {', '.join(sorted(self.variants))}")
        return self.variants[name].file


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
