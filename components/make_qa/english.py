"""The little English that rules need: verbs and their base form, plain text without markup, trimming, stable choice."""

import hashlib
import re

_VERBS = """
    address bump deprecate enhance improve introduce refactor repair revert speed
    accept access accumulate activate adapt add adjust aggregate align allocate allow answer append apply
    approximate assert assign attach attempt average batch begin bind block broadcast build cache calculate call
    cancel cast change check choose classify clean clear clip clone close collate collect combine compare compile
    compose compress compute concatenate configure connect construct consume control convert copy correct count crop
    cut deactivate decide decode decompose decorate define delete dequantize deserialize destroy detect determine
    disable discover discretize dispatch display distribute download drop dump duplicate emit enable encapsulate
    encode enforce enlarge ensure enter enumerate estimate evaluate evict exclude execute expand export expose
    extend extract fail fall fetch fill filter find finalize fix flag flatten flip flush fold force format forward
    free freeze fuse gather generate get give grow group guard guess handle hide hold identify ignore implement
    import include index indicate infer inherit initialize inject insert inspect install instantiate interpolate
    intersect invert issue iterate join keep launch limit list load locate lock log look lookup make manage map mark
    mask match materialize measure merge migrate mirror modify monitor move multiply mute normalize notify obtain
    offload open optimize order output override pack pad parse partition pass patch perform permute persist pick
    place plot pop populate post postprocess precompute predict prefill prepare preprocess prepend prevent print
    process produce project propagate provide prune publish pull push put quantize query queue raise randomize read
    rearrange rebuild receive recompute reconstruct record recover reduce refresh register release reload remap
    remove rename render reorder reorganize repeat replace replicate report represent request require rescale reset
    reshape resize resolve restore restrict resume retrieve return reuse reverse rewrite roll rotate round route run
    sample sanitize save scale scan schedule score search segment select send separate serialize serve set setup
    shard shift show shrink shuffle shut simplify skip slice smooth snapshot solve sort specify split stack
    standardize start stop store stream strip sum support suppress swap switch sync synchronize take tell test tie
    tokenize trace track train transfer transform translate transpose traverse trigger trim truncate try tune turn
    unflatten unify unload unpack unregister unwrap update upload upcast use validate verify visit wait walk warm
    warn wrap write yield zero
"""
_STOP_WORDS = """
    a about all also an and any are as at be been being between both but by can do does each either for from has
    have how i if in into is it its my not of on one only or other same so some such than that the their them then
    there these they this those to up use used uses using was we what when where whether which while who why will
    with would you your given new object objects value values method function class parameter argument
"""
VERBS = frozenset(_VERBS.split())
_STOP = frozenset(_STOP_WORDS.split())
_PAREN = re.compile(r"\s*\((?:[^()]|\([^()]*\))*\)")
_MARKUP = re.compile(r"`+|\*\*|<[^>\s]*>|\[\d+\]")
_LINK = re.compile(r"\[([^\]]+)\]\(\S*\)")
_URL = re.compile(r"https?://\S+")
_CUT = re.compile(
    r"(?:; |: | [-–—] | -- |, (?:which|so|e\.g\.|i\.e\.|and|but|as|since|where|instead|then|while|by) "
    r"| e\.g\. | i\.e\. )"
)
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_\-]*")
MAX_WORDS = 24


def pick(seed: str, choices: int) -> int:
    """A stable choice from 0 to ``choices`` - 1: the same text picks the same wording on every machine."""
    return int.from_bytes(hashlib.blake2b(seed.encode(errors="replace"), digest_size=4).digest(), "big") % choices


def base_form(word: str) -> str:
    """Base form of a known verb, imperative or third person ("Returns" -> "return"); "" for any other word."""
    low = word.lower()
    tries = [low]
    if low.endswith("ies"):
        tries.append(low[:-3] + "y")
    if low.endswith("es"):
        tries.append(low[:-2])
    if low.endswith("s"):
        tries.append(low[:-1])
    return next((t for t in tries if t in VERBS), "")


def third_person(verb: str) -> str:
    """Third person of a base form: "apply" -> "applies"."""
    if verb.endswith(("s", "sh", "ch", "x", "z")):
        return verb + "es"
    return verb[:-1] + "ies" if verb.endswith("y") and verb[-2] not in "aeiou" else verb + "s"


def plain(text: str) -> str:
    """Without markup, links, parentheses and closing full stop: what a person would type."""
    text = _MARKUP.sub("", _PAREN.sub("", _URL.sub("", _LINK.sub(r"\1", text))))
    return re.sub(r"\s+", " ", re.sub(r"\s+([,.;])", r"\1", text)).strip(" .:;,-*")


def trim(text: str) -> str:
    """At most ``MAX_WORDS`` words, cut where a clause begins; "" when there is no such place."""
    if len(text.split()) <= MAX_WORDS and not re.search(r"[;:] | [-–—] ", text):
        return text
    for match in reversed(list(_CUT.finditer(text))):
        head = text[: match.start()]
        if 4 <= len(head.split()) <= MAX_WORDS and not re.search(r"[;:] | [-–—] ", head):
            return head.rstrip(" ,")
    return ""


def lower_first(text: str) -> str:
    """Without the capital that only opened a sentence; names and abbreviations keep theirs."""
    first = text.split(" ", 1)[0]
    return text if not first[1:].islower() and len(first) > 1 else text[:1].lower() + text[1:]


def content_words(text: str) -> list[str]:
    """Lower-case words that carry meaning (no stop words)."""
    return [w for w in (m.lower() for m in _WORD.findall(text)) if w not in _STOP and len(w) > 1]


def normal(text: str) -> str:
    """Words in lower case only: two texts with the same words are the same text."""
    return " ".join(re.findall(r"\w+", text.lower()))
