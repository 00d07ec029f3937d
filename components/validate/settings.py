"""Where the data gate draws its lines, for each kind of model."""

from pydantic import Field

from components.common.step import Settings


class GateSettings(Settings):
    """What every kind of data is asked.

    ``task`` is the kind of model that the rows are for. ``mojibake``: ftfy's badness score from which a text counts as
    damaged; ``max_quarantined``: share of a table's rows; ``examples`` of quarantined rows stand in the report.
    """

    task: str = ""
    mojibake: int = Field(3, ge=1)
    max_quarantined: float = Field(0.05, ge=0, le=1)
    examples: int = Field(30, ge=0)


class ValidateSettings(GateSettings):
    """Settings of validate for passages and questions.

    Row by row: ``max_tokens`` of a passage (the encoder's window), ``question_words`` (least and most), ``*_letters``
    (the least share of ASCII letters among all letters: a simple test of language), ``speech_rate`` of a segment in
    words a minute. Over all: the balance of the rule-made questions (``max_category_share``, ``min_categories``), and
    the least numbers of rows.
    """

    max_tokens: int = Field(256, ge=1, le=512)
    question_words: tuple[int, int] = (4, 60)
    passage_letters: float = Field(0.6, ge=0, le=1)
    question_letters: float = Field(0.95, ge=0, le=1)
    speech_rate: tuple[float, float] = (20, 400)
    max_category_share: float = Field(0.7, gt=0, le=1)
    min_categories: int = Field(3, ge=1)
    min_passages: int = Field(10, ge=1)
    min_questions: int = Field(10, ge=1)


class SpeechSettings(GateSettings):
    """Settings of validate for utterances.

    ``seconds`` (least and most of an utterance), ``letters_per_s`` (of the reference, least and most: people speak
    about 15), ``loudness`` (least and most, decibels below full scale, RMS), and the least numbers of rows: in all, and
    in every split.
    """

    seconds: tuple[float, float] = (0.2, 30.0)
    letters_per_s: tuple[float, float] = (1.0, 40.0)
    loudness: tuple[float, float] = (-60.0, -1.0)
    min_utterances: int = Field(10, ge=1)
    min_of_split: int = Field(1, ge=0)


class SummarySettings(GateSettings):
    """Settings of validate for documents and their summaries.

    ``min_sentences`` of a document, ``max_length`` of its bullets (share of the document's words), and the least number
    of documents.
    """

    min_sentences: int = Field(3, ge=1)
    max_length: float = Field(0.9, gt=0)
    min_documents: int = Field(3, ge=1)
