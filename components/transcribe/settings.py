"""What transcribe can be told."""

from pydantic import Field

from components.common.step import Settings


class TranscribeSettings(Settings):
    """Settings of transcribe.

    ``language``: of all lectures, "" to detect it where the model can. ``prompt`` and ``vocabulary`` are hints to the
    model: what was said before, and names that may come up. ``threads`` of the model's session.
    """

    language: str = ""
    prompt: str = ""
    vocabulary: tuple[str, ...] = ()
    threads: int = Field(1, ge=1)
