"""Whisper models with random weights, small enough for tests: one of whole words and one of the general family."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

WORDS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "the",
    "water",
    "river",
    "moon",
)
SHARED = ("<|endoftext|>", "<|startoftranscript|>")
WHOLE = (*SHARED, "<|en|>", "<|transcribe|>", "<|notimestamps|>", "<|startofprev|>", "<|nospeech|>", "<unk>")
LANGUAGES = ("en", "de", "fr")
GENERAL = (*SHARED, *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>", "<|transcribe|>", "<|startoflm|>")
GENERAL = (*GENERAL, "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")


def make_tiny_whisper(directory: Path, words: Sequence[str] = WORDS) -> Path:
    """A model directory unlike OpenAI's: 6 s window, one token a word, English only, no timestamp tokens."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    directory.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate((*WHOLE, *words))}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[^a-z]+"), "removed")
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in WHOLE])
    tokenizer.save(str(directory / "tokenizer.json"))
    return _save(directory, list(WHOLE), len(WHOLE) + len(words), positions=300, max_tokens=64, languages=["en"])


def make_general_whisper(directory: Path) -> Path:
    """A model directory as Whisper's multilingual ones: 30 s window, byte-level tokens, timestamps, 3 languages."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    directory.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    times = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in GENERAL])
    tokenizer.add_tokens([AddedToken(name, special=False, normalized=False) for name in times])
    tokenizer.save(str(directory / "tokenizer.json"))
    names = [*alphabet, *GENERAL]
    return _save(directory, names, len(names) + len(times), positions=1500, max_tokens=80, languages=list(LANGUAGES))


def make_speech_bundle(model: Path, directory: Path) -> Path:
    """A bundle of task transcription with the fp32 graphs of a model directory; exporting takes seconds."""
    import shutil

    from components.tasks.transcription.whisper_graphs import export_fp32
    from serving.contract.bundle import Bundle, Lineage, Variant
    from serving.transcription.schema import INPUTS, OUTPUTS
    from serving.transcription.spec import read_speech

    export_fp32(model, directory / "speech/fp32")
    shutil.copyfile(model / "tokenizer.json", directory / "tokenizer.json")
    Bundle(
        system="lectures-transcriber",
        task="transcription",
        base_model="tiny-random",
        speech=read_speech(model),
        lineage=Lineage(data="none"),
        inputs=INPUTS,
        outputs=OUTPUTS,
        variants={"fp32": Variant(file="speech/fp32", bytes=1)},
        variant="fp32",
    ).write(directory)
    return directory


def _save(directory: Path, names: list[str], vocab: int, positions: int, max_tokens: int, languages: list[str]) -> Path:
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    at = {name: i for i, name in enumerate(names)}
    ends = {
        "eos_token_id": at["<|endoftext|>"],
        "bos_token_id": at["<|endoftext|>"],
        "pad_token_id": at["<|endoftext|>"],
    }
    ends["decoder_start_token_id"] = at["<|startoftranscript|>"]
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2}
    sizes |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "num_mel_bins": 80}
    limits = {"max_source_positions": positions, "max_target_positions": max_tokens, "vocab_size": vocab}
    torch.manual_seed(7)
    model = WhisperForConditionalGeneration(WhisperConfig(**sizes, **limits, **ends, init_std=0.25)).eval()
    extra: dict[str, Any] = {"is_multilingual": len(languages) > 1, "alignment_heads": [[1, 0], [1, 1]]}
    extra |= {"lang_to_id": {f"<|{code}|>": at[f"<|{code}|>"] for code in languages}}
    extra |= {"task_to_id": {n: at[f"<|{n}|>"] for n in ("transcribe", "translate") if f"<|{n}|>" in at}}
    extra |= {"no_timestamps_token_id": at["<|notimestamps|>"], "max_length": max_tokens}
    model.generation_config = GenerationConfig(**ends, **extra, suppress_tokens=[], begin_suppress_tokens=[])
    model.save_pretrained(directory)
    WhisperFeatureExtractor(chunk_length=positions // 50).save_pretrained(directory)
    (directory / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    (directory / "sluice.json").write_text(json.dumps({"task": "transcription", "base_model": "tiny-random"}))
    return directory
