"""Plain English out of docstrings and Markdown: light clean-up, sentences, the first sentence."""

import re

_LINK = re.compile(r"\[`~?([^`\]]+)`\](?:\([^)\s]*\))?")
_TAG = re.compile(r"</?(?:Tip|ExampleTitle|hfoptions?|frameworkcontent|pt|jax)\b[^>]*>")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|cf|vs|resp|approx|fig|eq|al|no|incl)|\b[A-Z])\.$", re.IGNORECASE)
_STOP = re.compile(r"[.!?](?=[\"')\]`*]*\s+[\"'(\[`*]*[A-Z0-9`])|[.!?](?=[\"')\]`*]*$)")
_NO_SUMMARY = re.compile(r"(?:[A-Z][a-z]+:(?:\s|$)|[`*]*\w+[`*]*\s?\([^\n]*\)\s*:|>>>|```)")
_SPACE = re.compile(r"\s+")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[._\-/>]+")


def clean(doc: str) -> str:
    """Drop the markup that only a documentation builder needs: ``[`~a.B`]`` becomes ``a.B`` and Tip tags go."""
    if "[`" in doc:
        doc = _LINK.sub(r"`\1`", doc)
    return _TAG.sub("", doc) if "<" in doc else doc


def squeeze(text: str) -> str:
    """Every run of white space becomes one blank; none at the ends."""
    return _SPACE.sub(" ", text).strip()


def words(name: str) -> str:
    """A symbol or path as lower-case words: ``generation/LogitsWarper.call`` -> "generation logits warper call"."""
    return squeeze(_HUMP.sub(" ", name)).lower()


def sentences(paragraph: str) -> list[str]:
    """Split one paragraph (white space squeezed) into sentences; abbreviations such as "e.g." do not end one."""
    out, start = [], 0
    for match in _STOP.finditer(paragraph):
        if _ABBREVIATION.search(paragraph[start : match.end()][-8:]):
            continue
        end = match.end()
        while end < len(paragraph) and paragraph[end] in "\"')]`*":
            end += 1
        out.append(paragraph[start:end].strip())
        start = end
    if rest := paragraph[start:].strip():
        out.append(rest)
    return out


def summary(doc: str) -> str:
    """First sentence of a docstring: of its first paragraph, squeezed; "" where it starts with a list of arguments."""
    first = doc.lstrip().split("\n\n", 1)[0]
    if _NO_SUMMARY.match(first):
        return ""
    found = sentences(squeeze(first[:2000]))
    return found[0] if found else ""
