"""The retrieval task: a question in, the passages that answer it out, with the sentences that say so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.contract.bundle import Bundle
from serving.contract.predictor import Predictor
from serving.contract.task import Task

TOP = 5


class Retrieval(Task):
    """See `serving.contract.task.Task`."""

    name = "retrieval"

    def open(self, directory: Path, bundle: Bundle, variant: str | None, threads: int) -> Predictor:
        """The retriever over the bundle's own index."""
        from serving.retrieval.retriever import Retriever

        return Retriever.open(directory, bundle, variant, threads)

    def is_correct(self, prediction: Mapping[str, Any], expect: Mapping[str, Any]) -> bool | None:
        """Whether one of ``expect["paths"]`` is among the first `TOP` sources."""
        if not expect.get("paths"):
            return None
        found = {source.get("path") for source in prediction.get("sources", [])[:TOP]}
        return not found.isdisjoint(expect["paths"])


TASK = Retrieval()
