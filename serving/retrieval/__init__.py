"""The retrieval task: a question in, the passages that answer it out, with the sentences that say so."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving.contract.bundle import Bundle
from serving.contract.predictor import Predictor
from serving.contract.task import EMBEDDINGS, EntityFeatures, Remembered, Task

if TYPE_CHECKING:
    from serving.core.model import ServedModel
    from serving.core.service import Service

TOP = 5
PASSAGES = EntityFeatures(
    "retrieval_v1",
    "passage_id",
    numbers=("n_tokens", "documented", "changed_day", "n_changes", "shown", "up", "down"),
    texts=("kind",),
    push="feedback_push",
)
"""See feature_repo/tasks/retrieval.py and components/tasks/retrieval/features.py."""


class Retrieval(Task):
    """See `serving.contract.task.Task`."""

    name = "retrieval"
    routes = (EMBEDDINGS,)
    features = (PASSAGES,)

    def open(self, directory: Path, bundle: Bundle, variant: str | None, threads: int) -> Predictor:
        """The retriever over the bundle's own index."""
        from serving.retrieval.retriever import Retriever

        return Retriever.open(directory, bundle, variant, threads)

    def service(self, model: "ServedModel") -> "Service":
        """Batches, OpenAI's embeddings, and a generator where there is one."""
        from serving.retrieval.service import RetrievalService

        return RetrievalService(model)

    def remember(self, instance: Mapping[str, Any], result: Mapping[str, Any]) -> Remembered | None:
        """The question and the passages shown; nothing of an answer without any."""
        ids = [source["passage_id"] for source in result.get("sources", ())]
        return Remembered(asked=instance.get("question", ""), entity=PASSAGES.entity, items=ids) if ids else None

    def is_correct(self, prediction: Mapping[str, Any], expect: Mapping[str, Any]) -> bool | None:
        """Whether one of ``expect["paths"]`` is among the first `TOP` sources."""
        if not expect.get("paths"):
            return None
        found = {source.get("path") for source in prediction.get("sources", [])[:TOP]}
        return not found.isdisjoint(expect["paths"])


TASK = Retrieval()
