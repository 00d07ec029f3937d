"""Rules from one sentence to one question: what, why, how, what changed. Pure functions from text to text."""

import re
from typing import NamedTuple

from components.make_qa.english import base_form, content_words, lower_first, pick, plain, third_person, trim

_DEPRECATED = re.compile(r"Deprecated (?:alias|method|function|class|helper|utility|argument|[a-z-]+ )\b.*", re.I)
_FAVOUR = re.compile(r"Deprecated,? in favou?r of (?P<new>[\w. ]{3,60})", re.I)
_CHANGED = re.compile(r" (?:is|are|was|were|has been|have been) (?:now )?(?:deprecated|renamed|superseded)\b", re.I)
_WHY = re.compile(
    r",? (?:because|so that|in order to|to avoid|to prevent|to ensure|to make sure|as otherwise|"
    r"which (?:avoids|prevents|allows|lets|ensures)) "
    r"|, (?:since|otherwise|(?:as|so) (?=(?:we|it|they|this|the|some|most|otherwise)\b))"
)
_REASON_FIRST = re.compile(
    r"(?:Because|Since|As|To avoid|To prevent|In order to|To ensure) [^,]{10,120}, (?P<main>.{15,})"
)
_AUX = re.compile(
    r"\b(is|are|was|were|can|cannot|must|should|will|has to|have to|need to|needs to|does not|do not)\b", re.I
)
_IF = re.compile(r"(?P<word>If|When|Unless) (?P<condition>[^,]{12,140}), (?P<result>.{12,})", re.I)
_TO = re.compile(r"(?:In order to|To) (?P<goal>[a-z]+ [^,]{8,120}), .{8,}")
_USE = re.compile(r"(?:You can use|You may use|Use|Call|Pass) .{2,80}? (?:to|in order to) (?P<goal>[a-z]+ .{6,})")
_USEFUL = re.compile(
    r".*\b(?:can be used to|is used to|used to|useful to|helps to|allows to|allows you to) (?P<goal>[a-z]+ .{8,})"
)
_THIS = re.compile(
    r"This (?:(?:[\w-]+ )?(?:class|method|function|module|decorator|pipeline|object|helper|mixin|callback|processor) )?"
    r"(?P<verb>is|will|can|[a-z]+s) (?P<rest>.{8,})"
)
_NOUN = {"class": "class", "function": "function", "method": "method", "section": "section"}
_VAGUE = re.compile(
    r"(?:this|it|they|that|these|those|see|same|note|todo|wrapper|copied|here|there|args|example|examples|we|at|for|in|on|"
    r"by|with|when|if|called|once|after|before|while|as|because|since|then|instead|otherwise|but|and|or|whether|default|given|"
    r"important|xxx|fixme)\b|[^A-Za-z]",
    re.I,
)


class Asked(NamedTuple):
    """A question and its category."""

    category: str
    question: str


class SymbolPlace(NamedTuple):
    """Where a sentence stands: the passage's kind, a few words that name the surroundings, the symbol's own name."""

    kind: str
    around: str
    name: str


def ask(sentence: str, place: SymbolPlace, first: bool) -> Asked | None:
    """The best question to which ``sentence`` is the answer, or None.

    ``first``: the sentence opens the documentation, so its subject is the symbol itself; later sentences must carry
    their own subject.
    """
    text = plain(sentence)
    if len(text) < 12 or "?" in text or text.count("=") > 1 or "{" in text:
        return None
    rules = (_changed, _why, _condition, _goal, _verb, _whether, _this, _noun) if first else (
        _changed, _why, _condition, _goal, _this)  # fmt: skip
    for rule in rules:
        asked = rule(text, place)
        if asked is not None:
            return _finish(asked, place)
    return None


def _finish(asked: Asked, place: SymbolPlace) -> Asked | None:
    question = re.sub(r"\s+", " ", asked.question).strip(" ,.;:") + "?"
    known = len(content_words(question))
    if known < 6 and place.around and place.around not in question.lower():
        question = f"{question[:-1]} in {place.around}?"
        known += len(content_words(place.around))
    if (
        known < 3
        or len(question) > 240
        or question.count("(") != question.count(")")
        or question[:-1].endswith(("e.g", "i.e"))
        or names_itself(question, place.name)
    ):
        return None
    return Asked(asked.category, question[0].upper() + question[1:])


def names_itself(question: str, name: str) -> bool:
    """Does the question hold the symbol's own name (qualified, or its last part where that is no everyday word)?"""
    low, leaf = question.lower(), name.rsplit(".", 1)[-1]
    telling = "_" in leaf.strip("_") or leaf.lower() != leaf or "." not in name
    return any(
        re.search(rf"(?<![\w.]){re.escape(n.lower())}(?!\w)", low) is not None
        for n in ({name, leaf} if telling else {name})
    )


def _subject(text: str) -> str:
    match = _AUX.search(text)
    subject = text[: match.start()].strip() if match else ""
    return "" if not subject or len(subject.split()) > 9 or _VAGUE.match(subject) else subject


def _changed(text: str, place: SymbolPlace) -> Asked | None:
    if match := _FAVOUR.match(text):
        return Asked("changed", f"What was deprecated in favour of {match['new'].strip()}")
    if _DEPRECATED.match(text) and place.kind in _NOUN:
        about = trim(text)
        return Asked("changed", f"Which {_NOUN[place.kind]} is the {lower_first(about)}") if about else None
    match = _CHANGED.search(text)
    subject = text[: match.start()] if match else ""
    if (
        match is None
        or not subject
        or len(subject.split()) > 9
        or _VAGUE.match(subject)
        or base_form(subject.split()[0])
    ):
        return None
    return Asked("changed", f"What should I use now that {lower_first(subject)}{match[0].lower()}")


def _why(text: str, place: SymbolPlace) -> Asked | None:
    if match := _REASON_FIRST.match(text):
        return _why_not(match["main"])
    match = _WHY.search(text)
    if match is None or match.start() < 12 or len(text) - match.end() < 8:
        return None
    return _why_not(text[: match.start()])


def _why_not(main: str) -> Asked | None:
    """Turn a statement into a question about its reason: "we need to clone it" -> "Why do we need to clone it"."""
    main = main.strip(" ,")
    head, _, rest = main.partition(" ")
    if re.search(r"[#;]| - |\bwe're\b", main) or len(main.split()) > 24:
        return None
    if verb := base_form(head):
        return Asked("why", f"Why would I {verb} {rest}") if len(rest) > 5 else None
    if match := re.match(
        r"[Ww]e (?:also |only |now |then |first )?(?P<rest>(?:need|have|must|cannot|can|should|will|\w+) .{8,})", main
    ):
        modal = re.match(r"(must|cannot|can|should|will) (.*)", match["rest"])
        return Asked(
            "why",
            f"Why {modal[1].replace('cannot', 'can not')} we {modal[2]}" if modal else f"Why do we {match['rest']}",
        )
    aux, subject = _AUX.search(main), _subject(main)
    tail = main[aux.end() :].strip() if aux else ""
    if aux is None or not subject or "," in subject or base_form(subject.split()[0]) == subject.split()[0] or not tail:
        return None
    subject, word = lower_first(subject), aux[1].lower()
    turned = {
        "has to": f"does {subject} have to {tail}", "needs to": f"does {subject} need to {tail}",
        "have to": f"do {subject} have to {tail}", "need to": f"do {subject} need to {tail}",
        "does not": f"does {subject} not {tail}", "do not": f"do {subject} not {tail}",
        "cannot": f"can {subject} not {tail}",
    }.get(word, f"{word} {subject} {tail}")  # fmt: skip
    return Asked("why", f"Why {turned}")


def ask_why(comment: str, place: SymbolPlace) -> Asked | None:
    """A why-question from a comment in the code, or None: comments are where reasons stand."""
    text = plain(comment)
    asked = _why(text, place) if 25 < len(text) < 240 and "?" not in text and "=" not in text else None
    return _finish(asked, place) if asked else None


def ask_returned(text: str, place: SymbolPlace) -> Asked | None:
    """Which function gives back what ``text`` (a description under "Returns:") describes?"""
    about = trim(plain(text))
    if not about or place.kind not in ("function", "method") or _VAGUE.match(about) or not about[0].isalpha():
        return None
    if match := re.match(r"(?:True|Whether|A boolean indicating whether)(?: if| or not)? (.*)", about):
        return _finish(Asked("how", f"How can I tell whether {match[1]}"), place)
    first = about.split()[0].lower()
    article = "" if first in ("a", "an", "the", "all", "any", "one", "how", "what") or first.endswith("s") else "the "
    return _finish(Asked("what", f"Which {place.kind} returns {article}{lower_first(about)}"), place)


def _condition(text: str, place: SymbolPlace) -> Asked | None:
    match = _IF.match(text)
    if match is None or len(content_words(match["condition"])) < 2:
        return None
    if re.match(r"(?:set|true|false|none|this|it|not|you)\b", match["condition"], re.I):
        return None
    return Asked("what", f"What happens {match['word'].lower()} {match['condition']}")


def _goal(text: str, place: SymbolPlace) -> Asked | None:
    if match := _TO.match(text) or _USE.match(text):
        goal = trim(match["goal"])
        if goal and base_form(goal.split()[0]) == goal.split()[0]:
            return Asked("how", f"How {('do I', 'can I')[pick(text, 2)]} {goal}")
    if match := _USEFUL.match(text):
        goal = trim(match["goal"])
        if goal and base_form(goal.split()[0]) == goal.split()[0]:
            return Asked("what", f"What can I use to {goal}")
    return None


def _verb(text: str, place: SymbolPlace) -> Asked | None:
    head, _, rest = text.partition(" ")
    if head.endswith("ly") and base_form(rest.partition(" ")[0]):  # "Recursively walk a template"
        text, (head, _, rest) = rest, rest.partition(" ")
    verb = base_form(head.rstrip(","))
    rest = trim(f"x {rest}")[2:]
    if not verb or not rest or rest.startswith(("of ", "is ", "are ", "was ", "that ", "to ", "for ")):
        return None
    if match := re.match(r"(?:True|`?True`?) (?:if|when) (.*)|(?:if|whether(?: or not)?) (.*)", rest):
        return Asked("how", f"How {('do I check', 'can I tell')[pick(text, 2)]} whether {match[1] or match[2]}")
    if pick(text, 3):
        wanted = "get" if verb in ("return", "give", "retrieve", "obtain") else verb
        rest = re.sub(r"\b(and|or|then) ([a-z]+s)\b", lambda m: f"{m[1]} {base_form(m[2]) or m[2]}", rest)
        return Asked("how", f"How {('do I', 'can I', 'would I')[pick(rest, 3)]} {wanted} {rest}")
    if place.kind == "section":
        return Asked("how", f"How do I {verb} {rest}")
    return Asked(
        "what", f"{('Which', 'What')[pick(rest, 2)]} {_NOUN.get(place.kind, 'part')} {third_person(verb)} {rest}"
    )


def _whether(text: str, place: SymbolPlace) -> Asked | None:
    match = re.match(r"Whether (?:or not )?(.*)", text)
    condition = trim(match[1]) if match else ""
    return Asked("how", f"How can I tell whether {condition}") if condition else None


def _this(text: str, place: SymbolPlace) -> Asked | None:
    match = _THIS.match(text)
    if match is None:
        return None
    verb, rest = match["verb"], trim(match["rest"])
    if not rest or not (verb in ("is", "will", "can") or base_form(verb)):
        return None
    if re.match(r"(?:necessary|useful|needed|required|the default|called|only|because|not)\b", rest):
        return None
    return Asked("what", f"Which {_NOUN.get(place.kind, 'part')} {verb} {rest}")


def _noun(text: str, place: SymbolPlace) -> Asked | None:
    text = trim(text)
    if not text or _VAGUE.match(text) or place.kind == "section":
        return None
    words = text.split()
    if not re.fullmatch(r"[A-Za-z][\w'-]*", words[0]) or words[0].lower() in (
        "if",
        "when",
        "as",
        "in",
        "for",
        "to",
        "on",
        "by",
        "with",
    ):
        return None
    if re.search(r"\b(?:is|are|was|were|will|can|should|must|have|has)\b", " ".join(words[:6])):
        return None
    noun = _NOUN.get(place.kind, "part")
    article = "" if words[0].lower() in ("a", "an", "the", "any", "all", "one") else "the "
    if article and words[0].lower() in (
        "special",
        "simple",
        "generic",
        "base",
        "abstract",
        "helper",
        "mixin",
        "public",
        "internal",
    ):
        article = "an " if words[0][0].lower() in "aeiou" else "a "
    return Asked("what", f"Which {noun} is {article}{lower_first(text)}")
