"""What utterances can be told."""

from pydantic import Field

from components.common.step import Settings


class UtteranceSettings(Settings):
    """Settings of utterances.

    ``window_s``: what the model hears at once; a longer cue is skipped and counted. ``padding_s`` of sound is kept
    before and after a cue, as far as the neighbouring cues leave room. ``min_s``: shorter cues are skipped.
    ``feedback``: take in what listeners corrected and a reviewer accepted. ``samples``: a split that has no
    utterance at all takes those of our own sample lectures, for training, choosing and judging need some each.
    """

    window_s: float = Field(30.0, gt=0, le=30)
    padding_s: float = Field(0.15, ge=0, le=1)
    min_s: float = Field(0.2, gt=0)
    feedback: bool = True
    samples: bool = True
