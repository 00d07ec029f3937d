"""The base model of transcription: a Whisper."""

import shutil
from pathlib import Path

from components.base.spec import ModelSpec
from serving.errors import SluiceError
from serving.files import atomic_dir

NANO = "whisper-nano"
SIDE_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "preprocessor_config.json")


def fetch(base_model: str, target: Path) -> ModelSpec:
    """Write the Whisper ``base_model`` as a model directory at ``target``, whole or not at all.

    ``base_model``: "whisper-nano" (our own, in this package), a Hugging Face id or directory, or a checkpoint file of
    openai-whisper. Weights are written in float32. Raises `SluiceError` in one sentence when it is missing, unreachable
    or no Whisper.
    """
    from components.base.openai_whisper import write_openai

    spec = ModelSpec(task="transcription", base_model=base_model)
    with atomic_dir(target) as scratch:
        if Path(base_model).expanduser().is_file():
            write_openai(Path(base_model).expanduser(), scratch)
        else:
            _write_directory(_source(base_model), base_model, scratch)
        _checked(scratch, base_model)
        spec.write(scratch)
    return spec


def _source(base_model: str) -> str:
    """The directory in this package for "whisper-nano", else the directory or hub id itself."""
    if base_model == NANO:
        return str(Path(__file__).with_name(NANO))
    place = Path(base_model).expanduser()
    looks_like_a_path = base_model.startswith((".", "/", "~")) or base_model.count("/") > 1 or not base_model
    if (looks_like_a_path or place.is_dir()) and not (place / "config.json").is_file():
        raise SluiceError(
            f"base model '{base_model}': neither a directory with a config.json nor a checkpoint file; try {NANO}"
        )
    return str(place) if place.is_dir() else base_model


def _write_directory(source: str, base_model: str, target: Path) -> None:
    """Model and side files out of a directory or the hub; side files as they are, for they hold more than weights."""
    import torch
    import transformers
    from transformers import AutoConfig, WhisperForConditionalGeneration

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        kind = AutoConfig.from_pretrained(source).model_type
        if kind != "whisper":
            raise SluiceError(f"base model {base_model}: of type '{kind}'; transcription takes Whisper models")
        model = WhisperForConditionalGeneration.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise SluiceError(
            f"base model '{base_model}' is neither {NANO}, a Whisper directory or checkpoint file, nor reachable on "
            f"the Hugging Face hub ({why}); check its spelling and the connection, or name a local directory"
        ) from error
    model.config.dtype = "float32"
    model.save_pretrained(target)
    for name in SIDE_FILES:
        if found := _side_file(source, name):
            shutil.copyfile(found, target / name)


def _side_file(source: str, name: str) -> Path | None:
    if Path(source).is_dir():
        path = Path(source, name)
        return path if path.is_file() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    try:
        return Path(hf_hub_download(source, name))
    except (EntryNotFoundError, HfHubHTTPError, OSError):
        return None  # `_checked` names what is missing


def _checked(directory: Path, base_model: str) -> None:
    """The directory can be decoded with: a tokenizer whose ids fit the model; `SluiceError` otherwise."""
    from serving.transcription.spec import read_speech, token_ids

    if not (directory / "tokenizer.json").is_file():
        raise SluiceError(f"base model {base_model}: it has no fast tokenizer (tokenizer.json); name one that has")
    ids = token_ids(directory / "tokenizer.json")
    if missing := [name for name in ("<|startoftranscript|>", "<|endoftext|>") if name not in ids]:
        raise SluiceError(f"base model {base_model}: its tokenizer has no {missing[0]}, so it is no Whisper's")
    speech = read_speech(directory)
    if max(ids.values()) >= speech.vocab:
        raise SluiceError(
            f"base model {base_model}: its tokenizer has ids up to {max(ids.values())}, the model {speech.vocab} tokens"
        )
