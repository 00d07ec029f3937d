"""What recordings can be told."""

from pydantic import Field

from components.common.step import Settings


class RecordingSettings(Settings):
    """Settings of recordings.

    ``window_s``: most seconds of a window. ``max_s``: a longer recording is quarantined. ``workers``: files that are
    read at once.
    """

    window_s: float = Field(30.0, ge=1, le=30)
    max_s: float = Field(43_200, gt=0)
    workers: int = Field(2, ge=1, le=64)
