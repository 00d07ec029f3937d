"""Is an answer right? Marked by its task as the request comes back, so quick and without a model's libraries."""

from functools import cache
from typing import Any

from serving.contract.errors import SluiceError
from serving.contract.task import Task, find_task

Row = dict[str, Any]


def is_correct(task: str, prediction: Row, expect: Row | None) -> bool | None:
    """Does ``prediction`` (one of a v1 answer) say what the label says? None without a label or for an unknown task."""
    known = _task(task)
    return known.is_correct(prediction, expect) if known and expect else None


def units_of(task: str) -> str:
    """What the ``units`` of a request of that task count, such as audio_s_per_s; "" where requests alone count."""
    known = _task(task)
    return known.units if known else ""


@cache
def _task(name: str) -> Task | None:
    try:
        return find_task(name)
    except SluiceError:
        return None
