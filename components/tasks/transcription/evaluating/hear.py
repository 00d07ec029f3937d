"""From utterances to transcripts and their errors, through the predictor that serves."""

from __future__ import annotations

import io
import time
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from components.common.levels import Metric
from components.tasks.transcription.words import edits, normalise, unit_of
from serving.contract.errors import SluiceError

if TYPE_CHECKING:
    from serving.contract.predictor import Predictor

RATE = 16_000
COLUMNS = ("recording_id", "speaker", "seconds")


def _fewer(of: str, errors: str) -> Metric:
    what = f"fewer errors per 100 {of}"
    name = f"{what.replace(' ', '_')}_test"
    return Metric(name, what, "the test set", errors, scale=100.0, lower=True, weights=of)


FEWER, LETTERS = _fewer("words", "errors"), _fewer("characters", "character_errors")


def read(corpus: Path, examples: Path, split: str) -> pd.DataFrame:
    """Utterances of a split with their ``samples`` (int16 arrays), in the order of their ids.

    Errors: `SluiceError` for a missing file or column, or a split without utterances.
    """
    from components.tasks.transcription.utterances import read_tables

    table = read_tables(corpus, examples)
    if missing := [name for name in COLUMNS if name not in table]:
        raise SluiceError(f"{examples}: no column '{missing[0]}' (see components/utterances)")
    chosen = table[table["split"] == split].sort_values("utterance_id").reset_index(drop=True)
    if chosen.empty:
        raise SluiceError(f"{examples}: no utterance of split '{split}'; add recordings with a reference to that split")
    return chosen


def wav(samples: np.ndarray) -> bytes:
    """A WAV file of int16 mono samples at 16 kHz."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.asarray(samples, "<i2").tobytes())
    return stream.getvalue()


def instances(predictor: Predictor, table: pd.DataFrame) -> list[dict[str, Any]]:
    """The utterances as checked instances of the predictor."""
    return [predictor.parse({"audio": wav(samples)}) for samples in table["samples"]]


def transcribe(predictor: Predictor, table: pd.DataFrame, batch: int) -> tuple[list[dict[str, Any]], float]:
    """Results of every utterance in order, ``batch`` at a time, and the seconds that took, decoding included."""
    results: list[dict[str, Any]] = []
    predictor.warm()
    began = time.perf_counter()
    for at in range(0, len(table), batch):
        results += predictor.predict(instances(predictor, table.iloc[at : at + batch]))
    return results, time.perf_counter() - began


def count_errors(table: pd.DataFrame, hypotheses: Sequence[str], language: str) -> pd.DataFrame:
    """The predictions of one system, see components/tasks/transcription/evaluating."""
    rows = []
    for said, heard in zip(table["text"], hypotheses, strict=True):
        words, letters = edits(said, heard, language), edits(said, heard, language, characters=True)
        rows.append(
            {
                "reference": said,
                "hypothesis": heard,
                "said": normalise(said, language),
                "heard": normalise(heard, language),
                **words._asdict(),
                "errors": words.total,
                "characters": letters.words,
                "character_errors": letters.total,
            }
        )
    keys = table[["utterance_id", "recording_id", "speaker", "condition", "seconds"]].reset_index(drop=True)
    return pd.concat([keys, pd.DataFrame(rows)], axis=1)


def figures(found: pd.DataFrame, took_s: float, language: str = "en") -> dict[str, float]:
    """Named figures of the predictions: ``wer_…``, or ``cer_…`` alone where the language has no blanks."""

    def rate(rows: pd.DataFrame, errors: str = "errors", of: str = "words") -> float:
        return float(rows[errors].sum() / max(1, rows[of].sum()))

    main = f"{unit_of(language)[0]}er_test"
    named = {"cer_test": rate(found, "character_errors", "characters"), main: rate(found)}
    named |= {f"{main}_{name}": rate(rows) for name, rows in found.groupby("condition")}
    seconds = float(found["seconds"].sum())
    return {**named, "rtf_test": took_s / seconds, "audio_s_per_s_test": seconds / took_s}
