"""ONNX variants of a Whisper model: what each costs and what it keeps, measured through the predictor that serves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from components.quantize.variants import Measured, QuantizeSettings
from components.tasks.transcription.words import unit_of
from serving.contract.bundle import Bundle, Lineage, SpeechSpec

if TYPE_CHECKING:
    from serving.contract.predictor import Predictor

VARIANTS = ("fp32", "int8")
PARITY_WINDOWS = 4


class Settings(QuantizeSettings):
    """Section ``quantize`` of a transcriber.

    ``utterances``: how many of split "val" quality is measured on (the same ones every time); ``batch``: utterances
    transcribed at once for the rate; ``language`` of Whisper's normaliser. Less must be saved than of an encoder alone,
    since Whisper's convolutions and positions stay float32; a few words more or less wrong in a few hundred are chance.
    """

    min_smaller: float = Field(0.6, ge=0, lt=1)
    min_retained: float = Field(0.98, ge=0, le=1)
    utterances: int = Field(60, ge=1)
    batch: int = Field(16, ge=1)
    repeats: int = Field(12, ge=3)
    language: str = "en"


def measure(model: Path, corpus: Path, examples: Path, settings: Settings, out: Path) -> Measured:
    """Write speech/fp32/ and speech/int8/ (encoder.onnx, decoder.onnx) below ``out`` and measure them.

    In: audio.parquet and utterances.parquet; quality is word accuracy (1 - WER, at least 0) on split "val". Errors:
    `SluiceError` for a missing file or column, no validation utterances, or a directory that holds no Whisper.
    """
    from components.tasks.transcription.evaluating.hear import read
    from components.tasks.transcription.whisper_graphs import export_fp32, quantise
    from serving.transcription.spec import read_speech

    table = read(corpus, examples, "val")
    table = table.sample(min(settings.utterances, len(table)), random_state=settings.seed).reset_index(drop=True)
    files = {name: f"speech/{name}" for name in VARIANTS}
    export_fp32(model, out / files["fp32"])
    quantise(out / files["fp32"], out / files["int8"])
    speech = read_speech(model)
    figures: dict[str, dict[str, float]] = {name: dict(_sizes(out / file)) for name, file in files.items()}
    for name, difference in parity(model, {n: out / f for n, f in files.items()}, speech, table).items():
        figures[name]["max_abs_difference"] = difference
    protocol, unit = f"of{len(table)}_val", unit_of(settings.language)
    for name, row in _through_serving(out, files, speech, table, settings, protocol).items():
        figures[name] |= row
    return Measured(
        spec={"speech": speech.model_dump()},
        files=files,
        figures=figures,
        quality=f"{unit}_accuracy_{protocol}",
        quality_name=f"{unit} accuracy",
        unit="one utterance",
        panels=[
            ("bytes", "Size, MB", 1e-6),
            ("p50_ms_batch1", "One utterance, p50 ms", 1.0),
            ("audio_s_per_s", "Audio s per second", 1.0),
        ],
    )


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of the folder, of its encoder and of its decoder (with weights kept beside the graphs)."""
    parts = {part: sum(f.stat().st_size for f in folder.glob(f"{part}.onnx*")) for part in ("encoder", "decoder")}
    return {"bytes": sum(parts.values()), **{f"{part}_bytes": size for part, size in parts.items()}}


def parity(model: Path, folders: dict[str, Path], speech: SpeechSpec, table: pd.DataFrame) -> dict[str, float]:
    """Largest absolute difference of each variant's logits from torch's, on real windows with their references.

    Windows are decoded by teacher forcing, so that one early difference cannot hide or breed others.
    """
    import torch

    from components.tasks.transcription.whisper_graphs import load_whisper
    from serving.transcription.graphs import Graphs

    whisper = load_whisper(model)
    graphs = {name: Graphs(folder, speech) for name, folder in folders.items()}
    worst = dict.fromkeys(folders, 0.0)
    for mel, tokens in _windows(model, speech, table.head(PARITY_WINDOWS)):
        with torch.inference_mode():
            given = {"input_features": torch.from_numpy(mel[None]), "decoder_input_ids": torch.from_numpy(tokens)}
            wanted = whisper(**given).logits.numpy()
        for name, graph in graphs.items():
            memory = graph.start(graph.encode([mel]), np.zeros(1, np.int64))
            found, _ = graph.step(memory, tokens, range(tokens.shape[1]))
            worst[name] = max(worst[name], float(np.abs(found - wanted).max()))
    return worst


def _windows(model: Path, speech: SpeechSpec, table: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    """Features float32 [n_mels, frames] and tokens int64 [1, t] of each utterance."""
    from tokenizers import Tokenizer

    from serving.transcription.mel import log_mel

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    found = []
    for samples, text in zip(table["samples"], table["text"], strict=True):
        mel = log_mel(samples.astype(np.float32) / np.float32(32768), speech.n_mels, speech.frames)
        said = tokenizer.encode(str(text), add_special_tokens=False).ids
        tokens = [speech.tokens.sot, *said][: speech.max_tokens]
        found.append((mel, np.asarray([tokens], np.int64)))
    return found


def _through_serving(
    out: Path, files: dict[str, str], speech: SpeechSpec, table: pd.DataFrame, settings: Settings, protocol: str
) -> dict[str, dict[str, float]]:
    """Latency, rate and error rate of every variant, from request to answer, in turns on the same utterances."""
    from components.tasks.transcription.evaluating.hear import count_errors, instances, transcribe
    from serving.contract.load import load
    from serving.transcription.schema import INPUTS, OUTPUTS

    # A bundle for the time of measuring only: what is measured here is what will be served.
    variants: dict[str, Any] = {name: {"file": file, "bytes": 0} for name, file in files.items()}
    described = {"inputs": INPUTS, "outputs": OUTPUTS, "variants": variants, "variant": "fp32"}
    trial = Bundle(system="", task="transcription", base_model="", speech=speech, lineage=Lineage(data=""), **described)
    trial.write(out)
    predictors = {name: load(out, name, settings.threads) for name in files}
    try:
        times = _turns(predictors, instances(predictors["fp32"], table), settings.repeats)
        found: dict[str, dict[str, float]] = {}
        for name, predictor in predictors.items():
            results, took_s = transcribe(predictor, table, settings.batch)
            rows = count_errors(table, [str(result["text"]) for result in results], settings.language)
            rate, unit = float(rows["errors"].sum() / max(1, rows["words"].sum())), unit_of(settings.language)
            found[name] = {
                "p50_ms_batch1": float(np.median(times[name])),
                "audio_s_per_s": float(table["seconds"].sum()) / took_s,
                f"{unit[0]}er_{protocol}": rate,
                f"{unit}_accuracy_{protocol}": max(0.0, 1 - rate),
            }
        return found
    finally:
        for predictor in predictors.values():
            predictor.close()
        (out / "bundle.json").unlink()


def _turns(predictors: dict[str, Predictor], asked: list[dict[str, Any]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of one utterance at a time; variants take turns, so that a busy moment hits all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in predictors}
    for turn in range(repeats + 2):
        for name, predictor in predictors.items():
            began = time.perf_counter()
            predictor.predict([asked[turn % len(asked)]])
            if turn >= 2:
                times[name].append((time.perf_counter() - began) * 1000)
    return times
