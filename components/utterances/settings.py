"""What utterances can be told."""

from pydantic import Field

from components.common.step import Settings


class UtteranceSettings(Settings):
    """Settings of utterances.

    ``window_s``: what the model hears at once; a longer cue is skipped and counted.
    ``feedback``: take in what listeners corrected and a reviewer accepted. ``samples``: a split that has no
    utterance at all takes those of our own sample lectures, for training, choosing and judging need some each.
    """

    window_s: float = Field(30.0, gt=0, le=30)
    feedback: bool = True
    samples: bool = True
