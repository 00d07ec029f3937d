"""Checkpoints of openai-whisper ({"dims", "model_state_dict"}) in Hugging Face's layout."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

from serving.contract.errors import SluiceError

RENAMED = (
    (r"\.blocks\.", ".layers."),
    (r"\.mlp\.0\.", ".fc1."),
    (r"\.mlp\.2\.", ".fc2."),
    (r"\.mlp_ln\.", ".final_layer_norm."),
    (r"\.cross_attn_ln\.", ".encoder_attn_layer_norm."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"\.attn_ln\.", ".self_attn_layer_norm."),
    (r"\.attn\.", ".self_attn."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"_attn\.out\.", "_attn.out_proj."),
    (r"\.ln_post\.", ".layer_norm."),
    (r"^decoder\.ln\.", "decoder.layer_norm."),
    (r"\.token_embedding\.", ".embed_tokens."),
    (r"\.positional_embedding$", ".embed_positions.weight"),
)
"""Their names to ours, in this order: Radford et al.'s code against transformers' `WhisperModel`."""
MULTILINGUAL = 51865
"""Vocabulary from which on a model is multilingual; English-only ones have 51864."""
TIMES = 1501


def write_openai(checkpoint: Path, target: Path) -> None:
    """Write the checkpoint file (.pt) as a Hugging Face Whisper directory, float32, into the directory ``target``.

    The tokenizer is built from the vocabulary that openai-whisper ships; its alignment heads are taken where the file
    has the name of an official model ("small.en.pt"). Raises `SluiceError` when the file is no such checkpoint.
    """
    import transformers
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    transformers.logging.disable_progress_bar()
    dims, state = _read(checkpoint)
    encoding = _encoding(dims)
    special = encoding._special_tokens
    ends = {name: special["<|endoftext|>"] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    ends["decoder_start_token_id"] = special["<|startoftranscript|>"]
    model = WhisperForConditionalGeneration(WhisperConfig(**_sizes(dims), **ends))
    try:
        model.model.load_state_dict({renamed(name): tensor.float() for name, tensor in state.items()})
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise SluiceError(f"{checkpoint}: its weights do not fit its dimensions ({why}); name another file") from error
    model.tie_weights()
    model.generation_config = GenerationConfig(**ends, **_generation(dims, encoding, checkpoint.stem))
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=dims["n_mels"]).save_pretrained(target)
    _write_tokenizer(encoding, target)


def renamed(name: str) -> str:
    """A weight's name in transformers' `WhisperModel`."""
    for pattern, ours in RENAMED:
        name = re.sub(pattern, ours, name)
    return name


def _read(checkpoint: Path) -> tuple[dict[str, int], dict[str, Any]]:
    import pickle
    import zipfile

    import torch

    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        return dict(content["dims"]), dict(content["model_state_dict"])
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise SluiceError(
            f"{checkpoint}: no checkpoint of openai-whisper (expected 'dims' and 'model_state_dict'); name a .pt file "
            "of it, or a directory"
        ) from error


def _sizes(dims: dict[str, int]) -> dict[str, int]:
    """`WhisperConfig` arguments."""
    return {
        "num_mel_bins": dims["n_mels"],
        "max_source_positions": dims["n_audio_ctx"],
        "d_model": dims["n_audio_state"],
        "encoder_attention_heads": dims["n_audio_head"],
        "encoder_layers": dims["n_audio_layer"],
        "encoder_ffn_dim": 4 * dims["n_audio_state"],
        "vocab_size": dims["n_vocab"],
        "max_target_positions": dims["n_text_ctx"],
        "decoder_attention_heads": dims["n_text_head"],
        "decoder_layers": dims["n_text_layer"],
        "decoder_ffn_dim": 4 * dims["n_text_state"],
    }


def _encoding(dims: dict[str, int]) -> Any:
    """openai-whisper's tiktoken encoding for a model of these dimensions."""
    try:
        from whisper.tokenizer import get_encoding
    except ImportError as error:
        raise SluiceError(
            "a bare checkpoint has no tokenizer: install openai-whisper, whose vocabulary it uses, or name a directory"
        ) from error
    several = dims["n_vocab"] >= MULTILINGUAL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its vocabulary file open
        return get_encoding(
            name="multilingual" if several else "gpt2", num_languages=dims["n_vocab"] - 51765 - int(several)
        )


def _generation(dims: dict[str, int], encoding: Any, name: str) -> dict[str, Any]:
    """generation_config.json: what decoding must know, as openai-whisper decodes by default."""
    from whisper.tokenizer import LANGUAGES, Tokenizer

    special = encoding._special_tokens
    several = dims["n_vocab"] >= MULTILINGUAL
    control = ("transcribe", "translate", "startoftranscript", "startoflm", "startofprev", "nospeech")
    silent = Tokenizer(encoding=encoding, num_languages=99).non_speech_tokens
    told: dict[str, Any] = {
        "is_multilingual": several,
        "no_timestamps_token_id": special["<|notimestamps|>"],
        "prev_sot_token_id": special["<|startofprev|>"],
        "suppress_tokens": sorted({*silent, *(special[f"<|{word}|>"] for word in control)}),
        "begin_suppress_tokens": [*encoding.encode(" "), special["<|endoftext|>"]],
        "max_length": dims["n_text_ctx"],
    }
    if several:
        told["lang_to_id"] = {f"<|{c}|>": special[f"<|{c}|>"] for c in LANGUAGES if f"<|{c}|>" in special}
        told["task_to_id"] = {word: special[f"<|{word}|>"] for word in ("transcribe", "translate")}
    if heads := _alignment(dims, name):
        told["alignment_heads"] = heads
    return told


def _alignment(dims: dict[str, int], name: str) -> list[list[int]]:
    """[layer, head] of the cross-attention heads that follow the words in the official model ``name``; else none."""
    import base64
    import gzip

    import numpy as np
    from whisper import _ALIGNMENT_HEADS

    if name not in _ALIGNMENT_HEADS:
        return []
    mask = np.frombuffer(gzip.decompress(base64.b85decode(_ALIGNMENT_HEADS[name])), dtype=bool)
    if mask.size != dims["n_text_layer"] * dims["n_text_head"]:
        return []  # another model under an official name
    found = np.argwhere(mask.reshape(dims["n_text_layer"], dims["n_text_head"]))
    return [[int(layer), int(head)] for layer, head in found]


def _write_tokenizer(encoding: Any, target: Path) -> None:
    """tokenizer.json and tokenizer_config.json out of tiktoken's ranks: byte-level BPE of the same ids."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    letters = _byte_letters()
    ranks = encoding._mergeable_ranks
    words = {token: "".join(letters[byte] for byte in token) for token in ranks}
    pairs = [_halves(token, ranks) for token in sorted(ranks, key=ranks.__getitem__)]
    merges = [(words[pair[0]], words[pair[1]]) for pair in pairs if len(pair) == 2]
    tokenizer = Tokenizer(models.BPE({words[token]: at for token, at in ranks.items()}, merges))
    split = pre_tokenizers.Split(Regex(encoding._pat_str), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    names = sorted(encoding._special_tokens, key=encoding._special_tokens.__getitem__)
    control = len(names) - TIMES
    tokenizer.add_tokens([AddedToken(name, special=at < control, normalized=False) for at, name in enumerate(names)])
    tokenizer.save(str(target / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    (target / "tokenizer_config.json").write_text(json.dumps(config, indent=1))


def _halves(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The two tokens that byte-pair encoding joins last when it makes ``token``; tiktoken keeps ranks, not pairs."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [ranks.get(one + two, len(ranks)) for one, two in zip(parts, parts[1:], strict=False)]
        at = min(range(len(joined)), key=joined.__getitem__)
        if joined[at] >= ranks[token]:
            return []
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for every byte (Radford et al. 2019)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + at) for at, byte in enumerate(others)}
