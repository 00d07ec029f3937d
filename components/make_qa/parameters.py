"""Questions about parameters: which one controls something, or what a named one does."""

import re

from components.common.prose import sentences
from components.make_qa.docs import DocEntry
from components.make_qa.english import base_form, content_words, lower_first, pick, plain, trim
from components.make_qa.rules import Asked, SymbolPlace, names_itself

_WHETHER = re.compile(
    r"(?:Flag |Boolean |A boolean )?(?:indicating |to indicate |that indicates )?[Ww]hether (?:or not )?(.*)"
)
_DEFAULT = re.compile(r"(?:^|\s)(?:\*?optional\*?,?\s*)?(?:\(?\*?defaults? to .*|Default: .*)$", re.I)


def ask_parameter(entry: DocEntry, place: SymbolPlace) -> tuple[Asked, str] | None:
    """A question about one parameter and the sentence that answers it (the first of its description), or None."""
    found = sentences(entry.text)
    sentence = found[0] if found else ""
    text = trim(_DEFAULT.sub("", plain(sentence)).strip(" ,.;"))
    if len(content_words(text)) < 3 or len(text) < 15 or "{" in text or "?" in text:
        return None
    question = _named(entry, place, text) or _described(text, place)
    if (
        not question
        or names_itself(question, place.name)
        or len(question) > 240
        or question.count("(") != question.count(")")
    ):
        return None
    return Asked("parameters", question), sentence


def _named(entry: DocEntry, place: SymbolPlace, text: str) -> str:
    """Now and then people know the name and ask what it does; only for names that say enough to be looked for."""
    if pick(f"{entry.name} {text}", 5) or "_" not in entry.name.strip("_") or not place.around:
        return ""
    return f"What does the {entry.name} argument do in {place.around}?"


def _described(text: str, place: SymbolPlace) -> str:
    word = ("parameter", "argument", "option")[pick(text, 3)]
    where = f" of {place.around}" if place.around and (pick(text + word, 3) or len(content_words(text)) < 5) else ""
    ask = f"Which {word}{where}"
    if match := _WHETHER.match(text):
        return f"{ask} {('controls', 'decides')[pick(text, 2)]} whether {match[1]}?"
    head = text.split()[0]
    if re.match(r"(?:If|When|This|It|See|Will|Can|Must|Should|Only|Not|Optional|Deprecated|Controls?)\b", head):
        return ""
    if verb := base_form(head):
        return (
            f"{ask} makes it {verb} {text[len(head) + 1 :]}?" if head.lower() == verb else f"{ask} {lower_first(text)}?"
        )
    if not re.fullmatch(r"[A-Za-z][\w'-]*", head):
        return ""
    article = "" if head.lower() in ("a", "an", "the", "any", "all", "one", "how", "what") else "the "
    return f"{ask} {('sets', 'gives', 'is')[pick(text + head, 3)]} {article}{lower_first(text)}?"
