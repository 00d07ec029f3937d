"""Whisper files of CTranslate2 (``model.bin``, as faster-whisper's models come) in Hugging Face's layout.

The format is that of CTranslate2's ``python/ctranslate2/specs/model_spec.py``: little-endian; names end in a zero byte.
"""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serving.contract.errors import SluiceError

WEIGHTS = "model.bin"
VERSION, SPEC, REVISION = 6, "WhisperSpec", 3
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
ENDS = ("bos_token_id", "eos_token_id", "pad_token_id")
Variables = dict[str, npt.NDArray[Any]]


def write_ctranslate2(source: Path, target: Path) -> None:
    """Write the CTranslate2 Whisper of directory ``source`` as a Hugging Face directory, float32, into ``target``.

    ``source`` holds model.bin, config.json (heads that align, tokens never said) and tokenizer.json. Raises
    `SluiceError` for another version of the format, another kind of model, quantised weights, or a broken file.
    """
    import transformers
    from transformers import GenerationConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    from serving.transcription.spec import token_ids

    transformers.logging.disable_progress_bar()
    file = source / WEIGHTS
    variables, told, ids = read_variables(file), _told(source / "config.json"), token_ids(source / "tokenizer.json")
    try:
        ends = dict.fromkeys(ENDS, ids["<|endoftext|>"]) | {"decoder_start_token_id": ids["<|startoftranscript|>"]}
        model = WhisperForConditionalGeneration(_config(variables, ends))
        missing, unknown = model.load_state_dict(_renamed(variables, file), strict=False)
    except (KeyError, RuntimeError, IndexError) as error:
        why = " ".join(str(error).split())[:200]
        raise SluiceError(f"{source}: no whole Whisper of CTranslate2 ({why}); convert or download it again") from error
    if unknown or set(missing) - {"proj_out.weight"}:
        raise SluiceError(f"{file}: weights of {sorted({*missing, *unknown})[:3]} do not fit a Whisper; name another")
    model.tie_weights()
    several = model.config.vocab_size > 51864  # OpenAI's English-only models have 51,864 tokens
    model.generation_config = GenerationConfig(
        **ends,
        is_multilingual=several,
        no_timestamps_token_id=ids["<|notimestamps|>"],
        max_length=model.config.max_target_positions,
        suppress_tokens=told["suppress_ids"],
        begin_suppress_tokens=told["suppress_ids_begin"],
        alignment_heads=told["alignment_heads"],
    )
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=model.config.num_mel_bins).save_pretrained(target)
    shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    own = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    (target / "tokenizer_config.json").write_text(json.dumps(own, indent=1))


def read_variables(file: Path) -> Variables:
    """Every variable of a model.bin by name, aliases included; views into the file's bytes.

    Raises `SluiceError` unless it is a WhisperSpec of the one version that is known here, whole, in floating point.
    """
    content = memoryview(file.read_bytes())
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        found: int = struct.unpack_from(f"<{kind}", content, place)[0]
        place += struct.calcsize(kind)
        return found

    def taken(length: int) -> memoryview:
        nonlocal place
        if place + length > len(content):
            raise SluiceError(f"{file}: ends after {len(content)} bytes, in the middle of a variable; fetch it again")
        place += length
        return content[place - length : place]

    def name() -> str:
        return bytes(taken(number("H"))).rstrip(b"\0").decode()

    try:
        if (found := (number("I"), name(), number("I"))) != (VERSION, SPEC, REVISION):
            raise SluiceError(
                f"{file}: version {found[0]}, {found[1][:40]} {found[2]}, of CTranslate2's format; what can be read is "
                f"version {VERSION}, {SPEC} {REVISION}: convert the model with ctranslate2 4"
            )
        variables: Variables = {}
        for _ in range(number("I")):
            called, shape, kind = name(), [number("I") for _ in range(number("B"))], number("B")
            variables[called] = np.frombuffer(taken(number("I")), TYPES[kind]).reshape(shape)
        for _ in range(number("I")):
            alias, of = name(), name()
            variables[alias] = variables[of]
    except (struct.error, KeyError, ValueError, UnicodeDecodeError) as error:
        raise SluiceError(f"{file}: no file of CTranslate2, or a broken one ({error}); fetch it again") from error
    quantised = [called for called, value in variables.items() if value.ndim and value.dtype.kind != "f"]
    if quantised:
        raise SluiceError(
            f"{file}: {quantised[0]} is quantised ({variables[quantised[0]].dtype}), which training cannot start from; "
            "name a model in float16 or float32"
        )
    return variables


def _told(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_text())
        return {name: told[name] for name in ("suppress_ids", "suppress_ids_begin", "alignment_heads")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SluiceError(f"{file}: no config.json of a CTranslate2 Whisper ({error!r}); fetch it again") from None


def _layers(variables: Variables, side: str) -> int:
    return len({name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_") and "/ffn/" in name})


def _config(variables: Variables, ends: dict[str, int]) -> Any:
    """WhisperConfig of the shapes."""
    from transformers import WhisperConfig

    sides: dict[str, int] = {}
    for side in ("encoder", "decoder"):
        sides |= {
            f"{side}_layers": _layers(variables, side),
            f"{side}_attention_heads": int(variables[f"{side}/num_heads"]),
            f"{side}_ffn_dim": len(variables[f"{side}/layer_0/ffn/linear_0/bias"]),
        }
    return WhisperConfig(
        vocab_size=len(variables["decoder/embeddings/weight"]),
        d_model=len(variables["encoder/layer_norm/gamma"]),
        num_mel_bins=variables["encoder/conv1/weight"].shape[1],
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        max_target_positions=len(variables["decoder/position_encodings/encodings"]),
        **sides,
        **ends,
    )


def _renamed(variables: Variables, file: Path) -> dict[str, Any]:
    """The weights under transformers' names, float32; CTranslate2 keeps query, key and value in one matrix."""
    import torch

    found: dict[str, npt.NDArray[Any]] = {}

    def plain(ours: str, theirs: str, weight: str = "weight", bias: str = "bias") -> None:
        found[f"{ours}.weight"], found[f"{ours}.bias"] = variables[f"{theirs}/{weight}"], variables[f"{theirs}/{bias}"]

    def stacked(ours: str, theirs: str, parts: tuple[str, ...]) -> None:
        weights, biases = (np.split(variables[f"{theirs}/{kind}"], len(parts)) for kind in ("weight", "bias"))
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            found[f"{ours}.{part}.weight"] = weight
            if part != "k_proj":
                found[f"{ours}.{part}.bias"] = bias
            elif bias.any():
                raise SluiceError(f"{file}: {theirs} has a bias for its keys, which no Whisper has; name another model")

    for side in ("encoder", "decoder"):
        for at in range(_layers(variables, side)):
            ours, theirs = f"model.{side}.layers.{at}", f"{side}/layer_{at}"
            stacked(f"{ours}.self_attn", f"{theirs}/self_attention/linear_0", ("q_proj", "k_proj", "v_proj"))
            plain(f"{ours}.self_attn.out_proj", f"{theirs}/self_attention/linear_1")
            plain(f"{ours}.self_attn_layer_norm", f"{theirs}/self_attention/layer_norm", "gamma", "beta")
            if side == "decoder":
                plain(f"{ours}.encoder_attn.q_proj", f"{theirs}/attention/linear_0")
                stacked(f"{ours}.encoder_attn", f"{theirs}/attention/linear_1", ("k_proj", "v_proj"))
                plain(f"{ours}.encoder_attn.out_proj", f"{theirs}/attention/linear_2")
                plain(f"{ours}.encoder_attn_layer_norm", f"{theirs}/attention/layer_norm", "gamma", "beta")
            plain(f"{ours}.fc1", f"{theirs}/ffn/linear_0")
            plain(f"{ours}.fc2", f"{theirs}/ffn/linear_1")
            plain(f"{ours}.final_layer_norm", f"{theirs}/ffn/layer_norm", "gamma", "beta")
        plain(f"model.{side}.layer_norm", f"{side}/layer_norm", "gamma", "beta")
        found[f"model.{side}.embed_positions.weight"] = variables[f"{side}/position_encodings/encodings"]
    plain("model.encoder.conv1", "encoder/conv1")
    plain("model.encoder.conv2", "encoder/conv2")
    found["model.decoder.embed_tokens.weight"] = variables["decoder/embeddings/weight"]
    return {name: torch.from_numpy(value.astype(np.float32)) for name, value in found.items()}
