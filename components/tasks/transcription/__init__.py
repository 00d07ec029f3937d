"""Transcription: sound to timed text."""

from components.tasks import Base, Data, Drilling, Evaluating, Gating, Learning, Merging, Packing, Quantising, Task


class Transcription:
    """See `components.tasks.Task`."""

    def base(self) -> Base:  # noqa: D102
        from components.tasks.transcription import base

        return base

    def data(self) -> Data:  # noqa: D102
        from components.tasks.transcription import data

        return data

    def features(self) -> None:  # noqa: D102
        return None

    def learning(self) -> Learning:  # noqa: D102
        from components.tasks.transcription import learning

        return learning

    def merging(self) -> Merging:  # noqa: D102
        from components.tasks.transcription import merging

        return merging

    def quantising(self) -> Quantising:  # noqa: D102
        from components.tasks.transcription import quantising

        return quantising

    def packing(self) -> Packing:  # noqa: D102
        from components.tasks.transcription import packing

        return packing

    def evaluating(self) -> Evaluating:  # noqa: D102
        from components.tasks.transcription import evaluating

        return evaluating

    def gating(self) -> Gating:  # noqa: D102
        from components.tasks.transcription import gating

        return gating

    def drilling(self) -> Drilling:  # noqa: D102
        from components.tasks.transcription import drilling

        return drilling


TASK: Task = Transcription()
