"""The transcription task: a recording in, its text with times out."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.contract.bundle import Bundle
from serving.contract.predictor import Predictor
from serving.contract.task import Task
from serving.contract.texts import word_errors

MOST_WRONG_WORDS = 0.5


class Transcription(Task):
    """See `serving.contract.task.Task`. ``units``: seconds of audio."""

    name = "transcription"
    units = "audio_s_per_s"

    def open(self, directory: Path, bundle: Bundle, variant: str | None, threads: int) -> Predictor:
        """The transcriber."""
        from serving.transcription.transcriber import Transcriber

        return Transcriber.open(directory, bundle, variant, threads)

    def is_correct(self, prediction: Mapping[str, Any], expect: Mapping[str, Any]) -> bool | None:
        """Whether at most half of the words of ``expect["text"]`` are wrong."""
        if not expect.get("text"):
            return None
        return word_errors(str(prediction.get("text", "")), str(expect["text"])) <= MOST_WRONG_WORDS


TASK = Transcription()
