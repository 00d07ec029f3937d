"""The transcription task: a recording in, its text with times out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.contract.bundle import Bundle
from serving.contract.predictor import Predictor
from serving.contract.task import Remembered, Route, Task, limit
from serving.contract.texts import word_errors

if TYPE_CHECKING:
    from serving.core.model import ServedModel
    from serving.core.service import Service

MOST_WRONG_WORDS = 0.5
ROUTE = Route("/openai/v1/audio/transcriptions", "transcriptions")


@dataclass(frozen=True)
class AudioLimits:
    """What one replica takes on of recordings: see each flag's text."""

    upload: int = limit(2_000_000_000, "--max-upload", "bytes of a recording's file")
    inline: int = limit(35_000_000, "--max-inline", "bytes of JSON that holds recordings")
    duration: float = limit(14_400.0, "--max-duration", "seconds of a recording; beyond, 413")
    uploads: int = limit(8, "--max-uploads", "large bodies at once; beyond, 429")
    pace: float = limit(1.0, "--pace", "seconds that a second of sound may take, beside --deadline")


class Transcription(Task):
    """See `serving.contract.task.Task`. ``units``: seconds of audio."""

    name = "transcription"
    units = "audio_s_per_s"
    routes = (ROUTE,)
    limits = AudioLimits
    reviewed = True

    def open(self, directory: Path, bundle: Bundle, variant: str | None, threads: int) -> Predictor:
        """The transcriber."""
        from serving.transcription.transcriber import Transcriber

        return Transcriber.open(directory, bundle, variant, threads)

    def service(self, model: "ServedModel") -> "Service":
        """Recordings stream in, and are heard window by window."""
        from serving.transcription.service import TranscriptionService

        return TranscriptionService(model)

    def remember(self, instance: Mapping[str, Any], result: Mapping[str, Any]) -> Remembered | None:
        """The segments, each of which may be corrected, and whose recording it is."""
        parts = [(part.get("start"), part.get("end"), part.get("text", "")) for part in result.get("segments", ())]
        return Remembered(parts=parts, source=instance.get("sha256", ""), duration_s=result.get("duration"))

    def is_correct(self, prediction: Mapping[str, Any], expect: Mapping[str, Any]) -> bool | None:
        """Whether at most half of the words of ``expect["text"]`` are wrong."""
        if not expect.get("text"):
            return None
        return word_errors(str(prediction.get("text", "")), str(expect["text"])) <= MOST_WRONG_WORDS


TASK = Transcription()
