"""The highlights task: sentences in, the few that sum them up out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.contract.bundle import Bundle
from serving.contract.predictor import Predictor
from serving.contract.task import EMBEDDINGS, Remembered, Task
from serving.contract.texts import shared_words

if TYPE_CHECKING:
    from serving.core.model import ServedModel
    from serving.core.service import Service

LEAST_F1 = 0.2


class Highlights(Task):
    """See `serving.contract.task.Task`. ``units``: sentences."""

    name = "highlights"
    units = "sentences_per_s"
    routes = (EMBEDDINGS,)

    def open(self, directory: Path, bundle: Bundle, variant: str | None, threads: int) -> Predictor:
        """The highlighter."""
        from serving.highlights.highlighter import Highlighter

        return Highlighter.open(directory, bundle, variant, threads)

    def service(self, model: "ServedModel") -> "Service":
        """Batches, and OpenAI's embeddings."""
        from serving.highlights.service import HighlightsService

        return HighlightsService(model)

    def remember(self, instance: Mapping[str, Any], result: Mapping[str, Any]) -> Remembered | None:
        """The bullets, each of which may be corrected."""
        parts = [(part.get("start"), part.get("end"), part.get("text", "")) for part in result.get("bullets", ())]
        return Remembered(parts=parts, duration_s=result.get("duration"))

    def join(self, previous: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        """One answer of a transcriber's and this one's: transcript, segments, bullets, and what else was said."""
        rest = {name: value for name, value in previous.items() if name != "text"}
        return {**rest, "transcript": previous.get("text", ""), **result}

    def is_correct(self, prediction: Mapping[str, Any], expect: Mapping[str, Any]) -> bool | None:
        """Whether the bullets share enough words with ``expect["bullets"]``, F1 0.2 or more."""
        if not expect.get("bullets"):
            return None
        chosen: Sequence[Any] = prediction.get("bullets") or []
        said = " ".join(str(b.get("text", "")) if isinstance(b, dict) else str(b) for b in chosen)
        return shared_words(said, " ".join(map(str, expect["bullets"]))) >= LEAST_F1


TASK = Highlights()
