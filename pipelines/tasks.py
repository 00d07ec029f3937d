"""What every task of every pipeline gets: a name for people, and a cache key that knows its code."""

import os

from kfp.dsl import PipelineTask

from pipelines.cluster import dress, workers
from pipelines.digest import code_digest


def named(
    task: PipelineTask, title: str, room: str, *, kind: str = "", cached: bool = True, threads: int | None = None
) -> PipelineTask:
    """Give a task its display name and make its cache key follow the code of ``components/<room>``.

    ``kind`` is the task of the model that the step works on (retrieval, transcription, …): its part of the room
    counts, the others' do not; a room that finds its work by the task is refused without one. ``threads`` caps the
    numeric libraries of the step (set it where steps run side by side). ``cached=False`` is for steps that read live
    state: a registry, a cluster. Where a cluster is compiled for, the task also gets what that cluster's settings say
    of its room.
    """
    code = code_digest(f"components.{room}.component", kind)
    task.set_display_name(title)
    task.set_env_variable("SLUICE_CODE_DIGEST", code)
    task.set_caching_options(cached)
    if threads:
        task.set_env_variable("OMP_NUM_THREADS", str(threads))
    dress(task, room, code)
    return task


def study_workers() -> list[int]:
    """Numbers of the study's workers, as KFP needs at compile time: as many as the cores here, two at least.

    On a cluster it is the number that its settings name.
    """
    return list(range(workers(here=max(2, min(os.cpu_count() or 2, 8)))))
