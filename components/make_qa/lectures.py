"""Questions about lectures: those that are known of a recording, and rule-made ones out of its own sentences.

A rule-made question is an inverse cloze task (Lee et al. 2019, "Latent Retrieval for Weakly Supervised Open Domain
Question Answering"): one sentence leaves its segment and asks for it, so the rest of the segment must be recognised.
"""

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.common.prose import squeeze
from components.common.recordings import lectures, read_stage
from components.make_qa.candidates import Holders, QuestionCandidate
from components.make_qa.changes import category_of
from components.make_qa.choose import COLUMNS, choose, identity, row
from components.make_qa.english import content_words, normal, pick
from components.make_qa.feedback import tell
from components.make_qa.rules import Asked
from components.make_qa.settings import QASettings
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file
from serving.retrieval.passages import require_columns

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
PERSONA = "listener"
_PASSAGES = ("passage_id", "path", "doc", "text", "split", "changed_at", "start_s", "end_s")
_SENTENCES = ("document_id", "text", "start", "end")
_OPENINGS = {
    "why": ("Why is it said that {}?", "What is the reason given about {}?"),
    "how": ("How many or how much is named with {}?", "How is it put about {}?"),
    "what": ("What is said about {}?", "Where does the lecture speak of {}?"),
}
_NUMBER = frozenset(
    [
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "twelve",
        "twenty",
        "hundred",
        "thousand",
        "million",
    ]
)
_MOST_WORDS = 8


def lecture_questions(
    passages: str | Path, sentences: str | Path, recordings: str | Path, settings: QASettings, out: str | Path
) -> "pd.DataFrame":
    """Write the questions about lectures to ``out`` (parquet; columns ``choose.COLUMNS``); return them.

    In: segment's passages and sentences, and the recordings' directory. Questions that samples.yaml knows become the
    persona set where they are about a lecture of split test; the others are what ranker (split "val") and confidence
    (split "calibration") are fitted on, one half each, since nothing else is learned from them. Their gold is the
    segment that covers the second of the answer. Rule-made ones lie in the split of their lecture; ``withheld`` is the
    sentence that was asked with. SluiceError: a table is missing or lacks a column, or no question came out.
    """
    import pandas as pd

    segments = _read(Path(passages), _PASSAGES, "segment")
    said = _read(Path(sentences), _SENTENCES, "segment")
    dropped: Counter[str] = Counter()
    asked_at = segments["changed_at"].max()
    known = list(_known(segments, said, Path(recordings)))
    rows = _rules(segments, said, settings, {normal(k[0]) for k in known}, dropped)
    rows += _merged(known, asked_at, dict(zip(segments["path"], segments["split"], strict=True)))
    if not rows:
        raise SluiceError(f"{passages}: no sentence made a question; the lectures are too short")
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).drop_duplicates("question_id", ignore_index=True)
    frame["asked_at"] = pd.to_datetime(frame["asked_at"], utc=True).astype("datetime64[us, UTC]")
    with atomic_file(out) as scratch:
        frame.to_parquet(scratch, index=False, coerce_timestamps="us")
    log.info("%d questions about lectures, %d of them known; dropped: %s", len(frame), len(known), tell(dropped))
    return frame


def _read(path: Path, needed: tuple[str, ...], maker: str) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        raise SluiceError(f"{path}: no such table; run {maker} first")
    frame = pd.read_parquet(path)
    require_columns(frame, needed, str(path), maker)
    return frame


def _rules(
    segments: "pd.DataFrame", said: "pd.DataFrame", settings: QASettings, hidden: set[str], dropped: Counter[str]
) -> list[tuple[Any, ...]]:
    """Questions out of sentences, chosen as those about code are: one truth each, no sentence in two splits."""
    candidates: list[QuestionCandidate] = []
    by_lecture = _by_lecture(said)
    for index, segment in enumerate(segments.to_dict("records")):
        spoken = by_lecture.get(segment["path"], [])
        own = [one["text"] for one in spoken if segment["start_s"] - 1e-6 <= one["start"] < segment["end_s"]]
        # A segment of one sentence would be empty without it.
        for rank, sentence in enumerate(own if len(own) > 1 else ()):
            asked = ask(sentence)
            if asked is not None and sentence in segment["doc"] and normal(asked.question) not in hidden:
                candidates.append(QuestionCandidate(asked, sentence, index, rank))
    ids, splits = segments["passage_id"].tolist(), segments["split"].tolist()
    chosen, why = choose(
        candidates, Holders(segments["text"].tolist()), splits, settings.per_passage, settings.max_gold,
        settings.max_questions,
    )  # fmt: skip
    dropped.update(why)
    paths, stamp = segments["path"].tolist(), segments["changed_at"].max()
    return [
        row(
            c.asked.question, squeeze(c.sentence), [ids[i] for i in gold], paths[c.passage], c.asked.category,
            splits[c.passage], "rule", stamp, withheld=squeeze(c.sentence),
        )
        for c, gold in chosen
    ]  # fmt: skip


def ask(sentence: str) -> Asked | None:
    """A question whose answer is ``sentence``, out of the words that carry its meaning; None if it has too few."""
    words = list(dict.fromkeys(content_words(sentence)))[:_MOST_WORDS]
    if len(words) < 3:
        return None
    low = set(normal(sentence).split())
    numbers = low & _NUMBER or any(c.isdigit() for c in sentence)
    category = "why" if {"because", "so"} & low else "how" if numbers else "what"
    openings = _OPENINGS[category]
    return Asked(category, openings[pick(sentence, len(openings))].format(" ".join(words)))


def _known(segments: "pd.DataFrame", said: "pd.DataFrame", recordings: Path) -> Iterator[tuple[str, str, str, str]]:
    """Question, answer (the sentence that stands at its second), passage id and path, lecture by lecture."""
    spans, by_lecture = _by_lecture(segments, "path"), _by_lecture(said)
    for lecture_id in lectures(recordings, "recording"):
        if lecture_id not in spans:
            continue
        for asked in read_stage(recordings, lecture_id, "recording")["questions"].to_pylist()[0]:
            segment = _at(spans[lecture_id], ("start_s", "end_s"), asked["start"])
            inside = [one for one in by_lecture[lecture_id] if one["text"] in segment["doc"]]
            answer = _at(inside, ("start", "end"), asked["start"])["text"]
            yield asked["question"], squeeze(answer), segment["passage_id"], lecture_id


def _by_lecture(rows: "pd.DataFrame", column: str = "document_id") -> dict[str, list[dict[str, Any]]]:
    grouped: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in rows.to_dict("records"):
        grouped[str(one[column])].append({str(name): value for name, value in one.items()})
    return dict(grouped)


def _at(spans: Sequence[dict[str, Any]], names: tuple[str, str], second: float) -> dict[str, Any]:
    """The span that covers ``second``, else the nearest; references round, so half a second is forgiven."""
    start, end = names
    return min(spans, key=lambda span: max(0.0, span[start] - second - 0.5) + max(0.0, second + 0.5 - span[end]))


def _ranks(question_id: str) -> bool:
    """Whether components/pack fits the ranker on this question, if it is of split val: confidence gets the others."""
    return hashlib.sha256(question_id.encode()).digest()[0] % 2 == 0


def _merged(known: list[tuple[str, str, str, str]], asked_at: Any, splits: dict[str, str]) -> list[tuple[Any, ...]]:
    """One row a question: two readings of one text both hold its answer."""
    groups: dict[str, list[tuple[str, str, str, str]]] = defaultdict(list)
    for entry in known:
        groups[normal(entry[0])].append(entry)
    rows = []
    for group in groups.values():
        question, answer, _, path = group[0]
        gold = list(dict.fromkeys(entry[2] for entry in group))
        category = category_of(question)
        tests = any(splits[entry[3]] == "test" for entry in group)
        fitted = "val" if _ranks(identity(PERSONA, question, *gold)) else "calibration"
        split, origin = ("persona", "persona") if tests else (fitted, PERSONA)
        places = sorted({entry[3] for entry in group})
        rows.append(
            row(question, answer, gold, path, category, split, origin, asked_at, persona=PERSONA, places=places)
        )
    return rows
