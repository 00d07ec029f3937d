"""Retrieval: passages that answer a question, and how sure that is."""

from components.tasks import (
    Base,
    Data,
    Drilling,
    Evaluating,
    Features,
    Gating,
    Learning,
    Merging,
    Packing,
    Quantising,
    Task,
)


class Retrieval:
    """See `components.tasks.Task`."""

    def base(self) -> Base:  # noqa: D102
        from components.tasks.retrieval import base

        return base

    def data(self) -> Data:  # noqa: D102
        from components.tasks.retrieval import data

        return data

    def features(self) -> Features:  # noqa: D102
        from components.tasks.retrieval import features

        return features

    def learning(self) -> Learning:  # noqa: D102
        from components.tasks.retrieval import learning

        return learning

    def merging(self) -> Merging:  # noqa: D102
        from components.tasks.retrieval import merging

        return merging

    def quantising(self) -> Quantising:  # noqa: D102
        from components.tasks.retrieval import quantising

        return quantising

    def packing(self) -> Packing:  # noqa: D102
        from components.tasks.retrieval import packing

        return packing

    def evaluating(self) -> Evaluating:  # noqa: D102
        from components.tasks.retrieval import evaluating

        return evaluating

    def gating(self) -> Gating:  # noqa: D102
        from components.tasks.retrieval import gating

        return gating

    def drilling(self) -> Drilling:  # noqa: D102
        from components.tasks.retrieval import drilling

        return drilling


TASK: Task = Retrieval()
