"""Highlights: the sentences of a text that sum it up."""

from components.tasks import Base, Data, Evaluating, Gating, Learning, Merging, Packing, Quantising, Task


class Highlights:
    """See `components.tasks.Task`."""

    def base(self) -> Base:  # noqa: D102
        from components.tasks.highlights import base

        return base

    def data(self) -> Data:  # noqa: D102
        from components.tasks.highlights import data

        return data

    def features(self) -> None:  # noqa: D102
        return None

    def learning(self) -> Learning:  # noqa: D102
        from components.tasks.highlights import learning

        return learning

    def merging(self) -> Merging:  # noqa: D102
        from components.tasks.highlights import merging

        return merging

    def quantising(self) -> Quantising:  # noqa: D102
        from components.tasks.highlights import quantising

        return quantising

    def packing(self) -> Packing:  # noqa: D102
        from components.tasks.highlights import packing

        return packing

    def evaluating(self) -> Evaluating:  # noqa: D102
        from components.tasks.highlights import evaluating

        return evaluating

    def gating(self) -> Gating:  # noqa: D102
        from components.tasks.highlights import gating

        return gating

    def drilling(self) -> None:  # noqa: D102
        return None


TASK: Task = Highlights()
