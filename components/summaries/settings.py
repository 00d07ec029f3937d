"""Settings of the step "Collect summaries"."""

from pydantic import Field

from components.common.step import Settings


class SummariesSettings(Settings):
    """Section ``summaries``.

    ``own``: take the project's own texts too; ``documents``: most of one split of the source (0: all); ``sentences``:
    most of one of its documents, from its beginning (0: all).
    """

    own: bool = True
    documents: int = Field(0, ge=0)
    sentences: int = Field(0, ge=0)
