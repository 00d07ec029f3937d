"""Where the data gate draws its lines."""

from pydantic import Field

from components.step import Settings


class ValidateSettings(Settings):
    """Settings of validate.

    Row by row: ``max_tokens`` of a passage (the encoder's window), ``question_words`` (least and most), ``*_letters``
    (the least share of ASCII letters among all letters: a simple test of language), ``mojibake`` (ftfy's badness score
    from which a text counts as damaged). Over all: ``max_quarantined`` (share of a table's rows), the balance of the
    rule-made questions (``max_category_share``, ``min_categories``), and the least numbers of rows. ``examples`` of
    quarantined rows stand in the report.
    """

    max_tokens: int = Field(256, ge=1)
    question_words: tuple[int, int] = (4, 60)
    passage_letters: float = Field(0.6, ge=0, le=1)
    question_letters: float = Field(0.95, ge=0, le=1)
    mojibake: int = Field(3, ge=1)
    max_quarantined: float = Field(0.05, ge=0, le=1)
    max_category_share: float = Field(0.7, gt=0, le=1)
    min_categories: int = Field(3, ge=1)
    min_passages: int = Field(10, ge=1)
    min_questions: int = Field(10, ge=1)
    examples: int = Field(30, ge=0)
