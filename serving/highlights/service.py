"""Highlights' half of a server."""

from typing import Any

from serving.core.call import Call
from serving.core.openai import EncodingService


class HighlightsService(EncodingService):
    """See `serving.core.service.Service`."""

    def observe(self, instance: dict[str, Any], result: dict[str, Any], call: Call) -> None:
        """Count the texts asked, and how sure the transcriber was of the segments that were handed on."""
        asked = [instance.get(field) for field in self.model.fields]
        self.model.metrics.answer(asked, [segment.get("confidence") for segment in result.get("segments", ())])
