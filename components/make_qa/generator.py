"""Self-instruct (Wang et al. 2022, arXiv:2212.10560) over any OpenAI-compatible endpoint: one prompt writes a question
from a passage, a second one checks the answer; what fails the check is dropped.
"""

import json
import logging
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from components.common.progress import track
from components.common.prose import squeeze
from components.make_qa.candidates import PassageRow
from components.make_qa.rules import names_itself
from components.make_qa.settings import QASettings
from serving.contract.errors import SluiceError

log = logging.getLogger(__name__)
_WRITE = """You write test questions about a code base. Read the passage and write one question that a user of the
library would ask and that this passage alone answers. Do not use the names of its functions or classes. Copy the
answer word for word from the passage. Reply with JSON only:
{{"question": "…", "answer": "…", "category": "what" | "why" | "how" | "parameters" | "changed"}}

Passage ({path}):
{text}"""
_CHECK = """Passage:
{text}

Question: {question}
Proposed answer: {answer}

Does the passage answer the question with the proposed answer, fully and correctly? Reply with yes or no only."""
_WORKERS = 4
_TIMEOUT_S = 60
_CATEGORIES = ("what", "why", "how", "parameters", "changed")


class Written(NamedTuple):
    """A question that passed the check; ``passage`` indexes the rows it was written from."""

    passage: int
    question: str
    answer: str
    category: str


class _Endpoint:
    def __init__(self, settings: QASettings) -> None:
        import httpx

        self.url = (settings.generator_url or os.environ.get("SLUICE_GENERATOR_URL", "")).rstrip("/")
        self.model = settings.generator_model or os.environ.get("SLUICE_GENERATOR_MODEL", "")
        if not self.url or not self.model:
            raise SluiceError(
                "generator_questions is set but no generator: name generator_url and generator_model "
                "(or SLUICE_GENERATOR_URL and SLUICE_GENERATOR_MODEL), or set generator_questions to 0"
            )
        key = os.environ.get("SLUICE_GENERATOR_KEY", "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx.Client(timeout=_TIMEOUT_S, headers=headers, trust_env=False)

    def ask(self, prompt: str) -> str:
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "seed": 0}
        answer = self.client.post(f"{self.url}/chat/completions", json=body)
        answer.raise_for_status()
        return str(answer.json()["choices"][0]["message"]["content"])


def write_questions(
    rows: Sequence[PassageRow], texts: Sequence[str], wanted: Sequence[int], settings: QASettings
) -> list[Written]:
    """Questions for the passages ``wanted`` (indices), in that order; fewer, where the check or the endpoint says no.

    SluiceError when the endpoint is not named, or answered not one request.
    """
    import httpx

    endpoint = _Endpoint(settings)
    failures: list[str] = []

    def one(index: int) -> Written | None:
        try:
            return _one(endpoint, index, rows[index], texts[index])
        except (httpx.HTTPError, KeyError, IndexError, TypeError, ValueError) as error:
            failures.append(f"{type(error).__name__}: {error}")
            return None

    with endpoint.client, ThreadPoolExecutor(_WORKERS) as pool:
        written = [w for w in track(pool.map(one, wanted), len(wanted), "Asking the generator") if w is not None]
    if wanted and len(failures) == len(wanted):
        raise SluiceError(
            f"the generator at {endpoint.url} answered none of {len(wanted)} requests ({failures[0]}); "
            "check generator_url, or set generator_questions to 0"
        )
    log.info("generator: %d questions of %d passages, %d requests failed", len(written), len(wanted), len(failures))
    return written


def _one(endpoint: _Endpoint, index: int, row: PassageRow, text: str) -> Written | None:
    reply = endpoint.ask(_WRITE.format(path=row.path, text=text))
    reply_json = re.search(r"\{.*\}", reply, re.DOTALL)
    made: Any = json.loads(reply_json[0]) if reply_json else {}
    question, answer = squeeze(str(made.get("question", ""))), squeeze(str(made.get("answer", "")))
    category = made.get("category")
    verbatim = bool(answer) and answer in squeeze(text)
    if not verbatim or len(question) < 12 or category not in _CATEGORIES or names_itself(question, row.name):
        return None
    verdict = endpoint.ask(_CHECK.format(text=text, question=question, answer=answer))
    return Written(index, question, answer, category) if verdict.strip().lower().startswith("yes") else None
