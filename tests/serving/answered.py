"""Answers for a feedback store, as its server gives them."""

from collections.abc import Mapping, Sequence
from typing import Any

from serving.contract.task import Remembered, find_task
from serving.feedback import FeedbackStore


def cited(store: FeedbackStore, request_id: str, revision: str, question: str, passage_ids: Sequence[str]) -> None:
    """A retriever's answer with these sources."""
    sources = [{"passage_id": one} for one in passage_ids]
    told = find_task("retrieval").remember({"question": question}, {"sources": sources})
    assert told is not None
    store.answered(request_id, revision, "retrieval", "", told)


def heard(
    store: FeedbackStore, request_id: str, revision: str, task: str, name: str, result: Mapping[str, Any], sha: str = ""
) -> None:
    """A transcriber's or a highlighter's answer."""
    told = find_task(task).remember({"sha256": sha}, result)
    assert isinstance(told, Remembered)
    store.answered(request_id, revision, task, name, told)
