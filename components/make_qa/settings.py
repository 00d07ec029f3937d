"""What make_qa can be told."""

from pydantic import Field

from components.common.step import Settings


class QASettings(Settings):
    """Settings of make_qa.

    ``per_passage`` and ``max_questions`` bound the rule-made questions; when there are more, the larger categories
    give way first. A sentence in more than ``max_gold`` passages asks nothing in particular and makes no question.
    ``personas``: NAME of a personas-NAME.yaml beside this file, whose hand-written questions are asked too where the
    source is the one that they are about. ``generator_questions`` > 0 lets the OpenAI-compatible endpoint
    ``generator_url`` (default: SLUICE_GENERATOR_URL) with ``generator_model`` (SLUICE_GENERATOR_MODEL; key in
    SLUICE_GENERATOR_KEY) write questions about that many passages more, for training only.
    """

    per_passage: int = Field(3, ge=1)
    max_questions: int = Field(12_000, ge=1)
    max_gold: int = Field(4, ge=1)
    personas: str = ""
    feedback: bool = True
    generator_questions: int = Field(0, ge=0)
    generator_url: str = ""
    generator_model: str = ""
