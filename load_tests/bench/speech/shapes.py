"""Whisper models in the form that each engine reads: tiny.en itself, the other true shapes with random weights."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serving.contract.errors import SluiceError

REAL = "tiny"
SHAPES = {"base": (512, 6, 8), "small": (768, 12, 12)}
"""Width, layers of encoder and of decoder, heads: Radford et al. (2022), table 1."""
_TEXT_TOKENS, _LANGUAGES, _VOCAB = 50257, 99, 51865


def make_model(name: str, folder: Path) -> Path:
    """A Hugging Face directory of shape ``name``; "tiny" is tiny.en, the others' weights are random.

    Errors: `SluiceError` for an unknown shape, or without the package that carries tiny.en.
    """
    import torch
    import transformers
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    if name == REAL:
        code = "import sys; from pathlib import Path; from components.tasks.transcription.base import fetch; "
        _run(f"{code}fetch('whisper-tiny.en', Path(sys.argv[1]))", folder)
        return folder
    if name not in SHAPES:
        raise SluiceError(f"{name!r}: no shape of Whisper; known are {', '.join((REAL, *SHAPES))}")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    width, layers, heads = SHAPES[name]
    sizes = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in
             (("layers", layers), ("attention_heads", heads), ("ffn_dim", 4 * width))}  # fmt: skip
    named = _write_tokenizer(folder)
    ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), named["<|endoftext|>"])
    ends["decoder_start_token_id"] = named["<|startoftranscript|>"]
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(d_model=width, vocab_size=_VOCAB, max_target_positions=448, init_std=0.05, **sizes, **ends)
    )
    with torch.no_grad():
        away = torch.nn.functional.normalize(torch.randn(width), dim=0)
        model.model.decoder.layer_norm.bias += 5 * away
        model.model.decoder.embed_tokens.weight[_TEXT_TOKENS:] = -10 * away
    generation: dict[str, Any] = {
        "lang_to_id": {f"<|{code}|>": named[f"<|{code}|>"] for code in _codes()},
        "task_to_id": {"transcribe": named["<|transcribe|>"], "translate": named["<|translate|>"]},
        "is_multilingual": True,
        "no_timestamps_token_id": named["<|notimestamps|>"],
        "alignment_heads": [[layer, head] for layer in range(layers // 2, layers) for head in range(0, heads, 4)],
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
    }
    model.generation_config = GenerationConfig(**ends, **generation)
    model.save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return folder


def make_graphs(model: Path, folder: Path) -> Path:
    """Our graphs of a model directory: ``folder``/{fp32,int8}. Errors: `SluiceError` if the export fails."""
    code = (
        "import sys; from components.tasks.transcription.whisper_graphs import export_fp32, quantise; "
        "m, o = sys.argv[1:]; "
        "export_fp32(m, o + '/fp32'); quantise(o + '/fp32', o + '/int8')"
    )
    _run(code, model, folder)
    return folder


def _run(code: str, *arguments: Path) -> None:
    """Run ``code`` as the program of its own that it is: this floor imports nothing from components."""
    done = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise SluiceError(f"no model to measure: {' '.join(done.stderr.strip().splitlines()[-1:])}")


def openai_names(state: dict[str, Any]) -> dict[str, Any]:
    """A Hugging Face state dict under openai-whisper's names."""
    rules: Sequence[tuple[str, str]] = (
        (r"^model\.", ""), (r"\blayers\.", "blocks."), (r"encoder_attn_layer_norm", "cross_attn_ln"),
        (r"encoder_attn", "cross_attn"), (r"self_attn_layer_norm", "attn_ln"), (r"self_attn", "attn"),
        (r"q_proj", "query"), (r"k_proj", "key"), (r"v_proj", "value"), (r"out_proj", "out"), (r"fc1", "mlp.0"),
        (r"fc2", "mlp.2"), (r"final_layer_norm", "mlp_ln"), (r"embed_tokens", "token_embedding"),
        (r"encoder\.layer_norm", "encoder.ln_post"), (r"decoder\.layer_norm", "decoder.ln"),
        (r"embed_positions\.weight", "positional_embedding"),
    )  # fmt: skip
    found = {}
    for name, value in state.items():
        if name == "proj_out.weight":
            continue
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        found[name] = value
    return found


def _codes() -> list[str]:
    from whisper.tokenizer import LANGUAGES

    return list(LANGUAGES)[:_LANGUAGES]


def _write_tokenizer(folder: Path) -> dict[str, int]:
    """tokenizer.json of Whisper's multilingual vocabulary, as openai-whisper carries it; ids of the special tokens."""
    from importlib.util import find_spec

    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers.convert_slow_tokenizer import TikTokenConverter

    package = find_spec("whisper")
    if package is None or package.origin is None:
        raise SluiceError("openai-whisper, whose vocabulary the bench uses, is not installed; pip install it")
    ranks = Path(package.origin).parent / "assets" / "multilingual.tiktoken"
    tokenizer = Tokenizer(models.BPE(*TikTokenConverter().extract_vocab_merges_from_model(str(ranks))))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rest = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
    special = [f"<|{name}|>" for name in ("endoftext", "startoftranscript", *_codes(), *rest)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    times = [AddedToken(f"<|{at * 0.02:.2f}|>", special=False, normalized=False) for at in range(1501)]
    tokenizer.add_tokens(times)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    ends = {"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    described = {"tokenizer_class": "PreTrainedTokenizerFast", **ends}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    vocabulary = tokenizer.get_vocab()
    return {name: vocabulary[name] for name in special}
