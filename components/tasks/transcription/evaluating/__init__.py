"""Evaluate a transcriber: its errors on every test utterance, by speaker and condition, and how fast it is."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from pydantic import Field

from components.evaluate.evaluated import Evaluated, EvaluateSettings
from serving.contract.errors import SluiceError

MOST, LONGEST = 60, 6.0


class Settings(EvaluateSettings):
    """Section ``evaluate`` of a transcriber.

    ``language`` of Whisper's normaliser ("en"; any other takes the basic one, see `transcription.words`);
    ``batch``: utterances transcribed at once.
    """

    language: str = "en"
    batch: int = Field(16, ge=1, le=256)


def evaluate(bundle: Path, corpus: Path, examples: Path, settings: Settings) -> Evaluated:
    """Transcribe every utterance of split "test" as the server would, and count the errors.

    In: audio.parquet and utterances.parquet. Out: predictions, one row an utterance: utterance_id, recording_id,
    speaker, condition, seconds, reference, hypothesis, said and heard (both normalised), words, substitutions,
    deletions, insertions, errors, characters, character_errors. Figures: ``wer_test`` and ``cer_test`` (edits over the
    reference's words or characters, all utterances together), ``wer_test_<condition>``, ``rtf_test`` (seconds of
    computing a second of sound). Errors: `SluiceError` for a missing file or column, or an empty test split.
    """
    from components.tasks.transcription.evaluating.hear import count_errors, figures, read, transcribe
    from components.tasks.transcription.evaluating.report import build
    from serving.contract.load import load

    table = read(corpus, examples, "test")
    predictor = load(bundle, threads=settings.threads)
    try:
        results, took_s = transcribe(predictor, table, settings.batch)
    finally:
        predictor.close()
    found = count_errors(table, [str(result["text"]) for result in results], settings.language)
    named = figures(found, took_s, settings.language)
    page, showcase = build(found, table, results, named, settings)
    counts = {"test utterances": len(found), "words": int(found["words"].sum())}
    return Evaluated(found, named, page, counts, showcase)


def asked(corpus: Path, examples: Path) -> list[dict[str, Any]]:
    """Test utterances of at most 6 s as requests, with what is said in them; at most 60, always the same ones.

    Errors: `SluiceError` where no test utterance is that short.
    """
    from components.tasks.transcription.evaluating.hear import read, wav

    table = read(corpus, examples, "test")
    short = table[table["seconds"] <= LONGEST].sort_values("utterance_id")
    if short.empty:
        raise SluiceError(f"{examples}: no test utterance of at most {LONGEST:g} s to ask with; cut shorter ones")
    return [
        {
            "id": str(row["utterance_id"]),
            "persona": "",
            "instance": {"audio": base64.b64encode(wav(row["samples"])).decode()},
            "expect": {"text": str(row["text"])},
            "units": float(row["seconds"]),
        }
        for row in short.sample(min(MOST, len(short)), random_state=0).to_dict("records")
    ]
