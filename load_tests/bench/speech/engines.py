"""Engines for the same Whisper weights, each behind one function: windows of 30 s in, the tokens of each out.

None may end a text before its time: the token that ends it is suppressed in all.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from load_tests.bench.speech.shapes import openai_names

OPENAI, TRANSFORMERS, FASTER = "openai-whisper", "transformers", "faster-whisper INT8"
OURS32, OURS8 = "ours fp32", "ours INT8"
Windows = Sequence[np.ndarray]
Engine = Callable[[Windows], list[list[int]]]


def open_engines(model: Path, graphs: Path, tokens: int, threads: int) -> dict[str, Engine]:
    """Every engine that is installed, loaded, by name; each writes exactly ``tokens`` tokens a window."""
    found = {
        OURS8: _ours(model, graphs / "int8", tokens, threads),
        OURS32: _ours(model, graphs / "fp32", tokens, threads),
        TRANSFORMERS: _transformers(model, tokens, threads),
    }
    if find_spec("whisper"):
        found[OPENAI] = _openai(model, tokens)
    if find_spec("faster_whisper"):
        found[FASTER] = _faster(model, tokens, threads)
    return found


def _ours(model: Path, folder: Path, tokens: int, threads: int) -> Engine:
    from serving.transcription.decode import Decoder, Settings, Task
    from serving.transcription.graphs import Graphs
    from serving.transcription.mel import log_mel
    from serving.transcription.spec import read_speech
    from serving.transcription.vocabulary import Vocabulary

    speech = read_speech(model)
    # No timestamps, as the others are asked for none.
    speech = speech.model_copy(update={"tokens": speech.tokens.model_copy(update={"timestamp_begin": None})})
    graphs, vocabulary = Graphs(folder, speech, threads), Vocabulary(model / "tokenizer.json", speech)
    decoder = Decoder(graphs, vocabulary, Settings(temperatures=(0.0,), least=tokens))
    task = Task(vocabulary.prefix("en"), align=False)

    def run(windows: Windows) -> list[list[int]]:
        cross = graphs.encode([log_mel(samples, speech.n_mels, speech.frames) for samples in windows])
        return [said.tokens for said in decoder.decode(cross, [task] * len(windows))]

    return run


def _transformers(model: Path, tokens: int, threads: int) -> Engine:
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    torch.set_num_threads(threads)
    features = WhisperFeatureExtractor.from_pretrained(model)
    network: Any = WhisperForConditionalGeneration.from_pretrained(model, dtype=torch.float32).eval()
    network.generation_config.update(suppress_tokens=None, begin_suppress_tokens=None, max_length=None)
    spoken = {"language": "en", "task": "transcribe"} if network.generation_config.is_multilingual else {}

    def run(windows: Windows) -> list[list[int]]:
        with torch.inference_mode():
            mel = features([*windows], sampling_rate=16_000, return_tensors="pt").input_features
            ids = network.generate(mel, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, **spoken)
        return [row[-tokens:] for row in ids.tolist()]

    return run


def _openai(model: Path, tokens: int) -> Engine:
    import torch
    import whisper
    from safetensors.torch import load_file

    weights = openai_names(load_file(str(model / "model.safetensors")))
    width, layers = (
        weights["decoder.positional_embedding"].shape[1],
        1 + max(int(name.split(".")[2]) for name in weights if name.startswith("decoder.blocks.")),
    )
    heads, vocabulary = width // 64, len(weights["decoder.token_embedding.weight"])
    sizes = whisper.model.ModelDimensions(80, 1500, width, heads, layers, vocabulary, 448, width, heads, layers)
    network: Any = whisper.model.Whisper(sizes)
    network.load_state_dict(weights, strict=True)
    network.eval()
    options = whisper.DecodingOptions(
        language="en", without_timestamps=True, sample_len=tokens, fp16=False, suppress_tokens=[_end(model)],
        suppress_blank=False,
    )  # fmt: skip

    def run(windows: Windows) -> list[list[int]]:
        with torch.inference_mode():
            mel = torch.stack([whisper.log_mel_spectrogram(torch.from_numpy(samples)) for samples in windows])
            return [result.tokens for result in whisper.decode(network, mel, options)]

    return run


def _faster(model: Path, tokens: int, threads: int) -> Engine:
    from ctranslate2.converters import TransformersConverter
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    from serving.transcription.spec import read_speech

    converted, prefix = model.parent / "ctranslate2", 4 if read_speech(model).languages else 2
    files = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(model), copy_files=files).convert(str(converted), quantization="int8", force=True)
    network = WhisperModel(str(converted), device="cpu", compute_type="int8", cpu_threads=threads, num_workers=1)
    batched = BatchedInferencePipeline(network)
    # CTranslate2 writes at most half of its max_length, which is the tokens of the prefix and max_new_tokens.
    asked: dict[str, Any] = {"language": "en", "beam_size": 1, "temperature": 0.0, "without_timestamps": True,
             "max_new_tokens": 2 * tokens - prefix, "suppress_tokens": [_end(model)], "suppress_blank": False,
             "vad_filter": False, "compression_ratio_threshold": None, "log_prob_threshold": None,
             "no_speech_threshold": None}  # fmt: skip

    def run(windows: Windows) -> list[list[int]]:
        sound = np.concatenate([*windows])
        if len(windows) == 1:
            segments, _ = network.transcribe(sound, condition_on_previous_text=False, **asked)
        else:
            clips = [{"start": 30.0 * at, "end": 30.0 * (at + 1)} for at in range(len(windows))]
            segments, _ = batched.transcribe(sound, batch_size=len(windows), clip_timestamps=clips, **asked)
        return [segment.tokens for segment in segments]

    return run


def _end(model: Path) -> int:
    """The token that ends a text."""
    from serving.transcription.spec import read_speech

    return read_speech(model).tokens.eot
