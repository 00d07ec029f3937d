"""What decoding needs to know of a Whisper model, read from the JSON files of its directory."""

import json
import re
from pathlib import Path
from typing import Any

from serving.contract.bundle import SpeechSpec, SpeechTokens
from serving.contract.errors import SluiceError

_LANGUAGE = re.compile(r"^<\|([a-z]{2,3})\|>$")
_NAMES = {
    "transcribe": "<|transcribe|>",
    "translate": "<|translate|>",
    "no_timestamps": "<|notimestamps|>",
    "sot_prev": "<|startofprev|>",
    "timestamp_begin": "<|0.00|>",
}


def read_speech(model_dir: Path | str) -> SpeechSpec:
    """The spec of a Whisper model directory: config.json, generation_config.json and tokenizer.json are read.

    Special tokens are found by their names. Without alignment heads in generation_config.json, all heads of the later
    half of the decoder align, as openai-whisper does. Errors: `SluiceError` if a file is missing or no Whisper's.
    """
    place = Path(model_dir)
    config, generation = _json(place / "config.json"), _json(place / "generation_config.json", optional=True)
    ids = token_ids(place / "tokenizer.json")
    try:
        layers, heads = config["decoder_layers"], config["decoder_attention_heads"]
        languages = _languages(generation, ids)
        return SpeechSpec(
            n_mels=config["num_mel_bins"],
            frames=2 * config["max_source_positions"],
            window_s=config["max_source_positions"] / 50,
            multilingual=len(languages) > 1,
            languages=languages,
            max_tokens=config["max_target_positions"],
            tokens=_tokens(ids),
            alignment_heads=generation.get("alignment_heads") or _later_half(layers, heads),
            suppress=_ids(generation, config, "suppress_tokens"),
            begin_suppress=_ids(generation, config, "begin_suppress_tokens"),
            n_layers=layers,
            n_heads=heads,
            head_dim=config["d_model"] // heads,
            d_model=config["d_model"],
            vocab=config["vocab_size"],
        )
    except KeyError as error:
        raise SluiceError(f"{place}: no {error} in it, so no Whisper model; name a Whisper model directory") from None


def token_ids(tokenizer: Path) -> dict[str, int]:
    """Special and added tokens of a ``tokenizer.json`` by name. Errors: `SluiceError` if it cannot be read."""
    data = _json(tokenizer)
    found = {token["content"]: token["id"] for token in data.get("added_tokens", [])}
    vocabulary = data.get("model", {}).get("vocab", {})
    if isinstance(vocabulary, dict):
        found |= {name: at for name, at in vocabulary.items() if name.startswith("<|") and name.endswith("|>")}
    return found


def _tokens(ids: dict[str, int]) -> SpeechTokens:
    silent = ids.get("<|nospeech|>", ids.get("<|nocaptions|>"))
    rest = {field: ids.get(name) for field, name in _NAMES.items()}
    return SpeechTokens(sot=ids["<|startoftranscript|>"], eot=ids["<|endoftext|>"], no_speech=silent, **rest)


def _languages(generation: dict[str, Any], ids: dict[str, int]) -> list[str]:
    """Codes in the order of their ids; none for OpenAI's English-only models, which never use these tokens."""
    given = generation.get("lang_to_id")
    if not given and generation.get("is_multilingual") is False:
        return []
    known = given or ids
    codes = {match[1]: known[name] for name in known if (match := _LANGUAGE.match(name))}
    return sorted(codes, key=lambda code: codes[code])


def _ids(generation: dict[str, Any], config: dict[str, Any], name: str) -> list[int]:
    found = generation.get(name, config.get(name)) or []
    return [at for at in found if at >= 0]


def _later_half(layers: int, heads: int) -> list[tuple[int, int]]:
    return [(layer, head) for layer in range(layers // 2, layers) for head in range(heads)]


def _json(path: Path, optional: bool = False) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except FileNotFoundError:
        if optional:
            return {}
        raise SluiceError(f"{path.parent}: no {path.name}; name a Whisper model directory") from None
    except (OSError, ValueError) as error:
        raise SluiceError(f"{path}: cannot be read as JSON ({error}); fetch the model again") from None
    return data if isinstance(data, dict) else {}
