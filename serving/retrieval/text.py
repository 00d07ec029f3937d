"""Words for BM25 and sentences for answers, out of text that is half English and half code."""

import re

from serving.core.scripts import bigrams, unspaced

_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[^\W\d_]+")
_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\x00-\x7F]+")
_STOP = frozenset(
    re.findall(
        r"\w+",
        """a an and are as at be by do does for from how i if in is it its me my of on or that the this to was we what
        when where which who why will with you your can could should would about self def return""",
    )
)
_FENCE = re.compile(r"^\s*(```|~~~)")
_CODE = re.compile(r"^\s*(>>>|\.\.\. |\$ |@|import |from \w+ import )")
_ITEM = re.compile(r"^\s*([-*+•]|\d+[.)])\s+")
_FIELD = re.compile(r"^\s*`?\*{0,2}\w[\w.]*`?\s*\([^)]*\)?.*:\s*")
_HEADER = re.compile(r"^\s*(#+\s.*|[A-Z][\w ]{0,30}:)\s*$")
_END = re.compile(r"(?<=[.!?])(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\betc\.)(?<!\bvs\.)[\"')\]`]*\s+(?=[\"'(\[`*]*[A-Z0-9`])")


def words(text: str) -> list[str]:
    """Lower-case words of ``text``; ``camelCase`` and ``snake_case`` give their parts and the whole name.

    Plurals lose their s and a short list of stop words is dropped, so that "Which models…" finds ``AutoModel``. Where
    words have no blanks between them every pair of neighbouring signs stands for one.
    """
    out: list[str] = []
    for token in _TOKEN.findall(text):
        parts = _split(token)
        out.extend(parts)
        if len(parts) > 1 and not any(map(unspaced, token)):
            out.append("".join(parts))
    return out


_known: dict[str, tuple[str, ...]] = {}


def _split(token: str) -> tuple[str, ...]:
    parts = _known.get(token)
    if parts is None:
        found = (bigrams(part) if unspaced(part) else [part] for part in _PART.findall(token))
        lowered = (part.lower() for several in found for part in several)
        parts = tuple(_singular(part) for part in lowered if part not in _STOP)
        if len(_known) < 200_000:  # a server reads users' words for ever
            _known[token] = parts
    return parts


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] not in "su" else word


def sentences(doc: str, most: int = 8) -> list[str]:
    """The first ``most`` sentences of a docstring or Markdown text that a person could read as an answer.

    Code blocks and doctest lines are left out; a list item or an ``Args:`` entry starts a sentence of its own. White
    space is squeezed; sentences have 3 to 80 words.
    """
    out: list[str] = []
    for paragraph in _paragraphs(doc):
        for sentence in _END.split(paragraph):
            if 3 <= sentence.count(" ") + 1 <= 80 and sentence not in out:
                out.append(sentence)
                if len(out) == most:
                    return out
    return out


def _paragraphs(doc: str) -> list[str]:
    """Prose paragraphs, each on one line."""
    paragraphs: list[list[str]] = [[]]
    fenced = False
    for line in doc.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
            paragraphs.append([])
        elif fenced or _CODE.match(line) or _HEADER.match(line) or not line.strip():
            paragraphs.append([])
        elif _ITEM.match(line) or _FIELD.match(line):
            paragraphs.append([_ITEM.sub("", line).strip()])
        else:
            paragraphs[-1].append(line.strip())
    return [" ".join(" ".join(lines).split()) for lines in paragraphs if lines]
