"""What segment can be told."""

from pydantic import Field

from components.common.step import Settings


class SegmentSettings(Settings):
    """Settings of segment.

    ``max_tokens`` bounds a segment (wordpieces, special tokens included; beyond 256 the default base model reads no
    further; ``tokenizer`` names another one's tokenizer.json). ``min_sentences`` is the least a topic has,
    ``block`` the sentences that are compared across a gap.
    """

    max_tokens: int = Field(256, ge=64, le=512)
    tokenizer: str = ""
    min_sentences: int = Field(3, ge=1)
    block: int = Field(3, ge=1)
