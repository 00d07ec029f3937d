"""Questions about commits and issues: what changed in a file, what is known about a problem."""

import re
from pathlib import PurePosixPath

from components.common.prose import squeeze
from components.make_qa.english import base_form, content_words, lower_first, plain, trim
from components.make_qa.rules import Asked

_TOUCHES = re.compile(r"commit \w+ touches (.*?)(?: and \d+ more)?$")
_PREFIX = re.compile(r"^(?:\[[^\]]*\]\s*|\w+(?:\([^)]*\))?!?: )+")


def ask_commit(signature: str, doc: str) -> tuple[Asked, str] | None:
    """From a commit's header ("commit … touches a.py, b.py") and message: a question, and the subject it came from."""
    subject = squeeze(doc.split("\n", 1)[0])
    touched = _TOUCHES.match(signature)
    text = trim(plain(_PREFIX.sub("", re.sub(r"\s*\(#\d+\)$", "", subject))))
    if touched is None or len(content_words(text)) < 2:
        return None
    file = PurePosixPath(touched[1].split(", ")[0]).name
    head, _, rest = text.partition(" ")
    verb = base_form(head)
    purpose = f"to {verb} {rest}" if verb and rest else f"about {lower_first(text)}"
    return Asked("changed", f"What changed in {file} {purpose}?"), subject


def ask_issue(doc: str) -> tuple[Asked, str] | None:
    """From an issue's title and text: a question, and the title that it came from."""
    title = squeeze(doc.split("\n", 1)[0])
    text = plain(_PREFIX.sub("", title))
    if len(content_words(text)) < 3 or len(text) > 200:
        return None
    if title.endswith("?"):
        return Asked(category_of(text), text.rstrip("?") + "?"), title
    return Asked("what", f"What is known about this: {lower_first(text)}?"), title


def category_of(question: str) -> str:
    """Category of a question that a person wrote, by its opening words."""
    low = question.lower()
    if re.search(r"\b(?:changed?|deprecated|renamed|removed|since version)\b", low):
        return "changed"
    if re.search(r"\b(?:parameter|argument|option|flag|setting)s?\b", low):
        return "parameters"
    first = low.split(" ", 1)[0]
    return first if first in ("why", "how") else "what"
