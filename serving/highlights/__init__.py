"""The highlights task: sentences in, the few that sum them up out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from serving.contract.bundle import Bundle
from serving.contract.predictor import Predictor
from serving.contract.task import Task
from serving.contract.texts import shared_words

LEAST_F1 = 0.2


class Highlights(Task):
    """See `serving.contract.task.Task`. ``units``: sentences."""

    name = "highlights"
    units = "sentences_per_s"

    def open(self, directory: Path, bundle: Bundle, variant: str | None, threads: int) -> Predictor:
        """The highlighter."""
        from serving.highlights.highlighter import Highlighter

        return Highlighter.open(directory, bundle, variant, threads)

    def is_correct(self, prediction: Mapping[str, Any], expect: Mapping[str, Any]) -> bool | None:
        """Whether the bullets share enough words with ``expect["bullets"]``, F1 0.2 or more."""
        if not expect.get("bullets"):
            return None
        chosen: Sequence[Any] = prediction.get("bullets") or []
        said = " ".join(str(b.get("text", "")) if isinstance(b, dict) else str(b) for b in chosen)
        return shared_words(said, " ".join(map(str, expect["bullets"]))) >= LEAST_F1


TASK = Highlights()
