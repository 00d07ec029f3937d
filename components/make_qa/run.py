"""make_qa as a function: passages.parquet in, questions.parquet out."""

import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.common.prose import squeeze
from components.make_qa.candidates import Holders, PassageRow, candidates, read_docs, rows_of
from components.make_qa.changes import category_of
from components.make_qa.choose import COLUMNS, choose, identity, row
from components.make_qa.docs import Doc
from components.make_qa.english import normal
from components.make_qa.feedback import gold_of, names_of, read_votes, tell
from components.make_qa.personas import PersonaQuestion, load_personas, places_of, resolve, split_of
from components.make_qa.settings import QASettings
from serving.contract.errors import SluiceError
from serving.contract.files import atomic_file
from serving.retrieval.text import sentences as spoken

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)
_LEAST_SYMBOLS = 20  # of those that the persona set names: some file names and symbols recur in other people's trees
_NEEDED = ("passage_id", "path", "name", "kind", "signature", "doc", "body", "text", "summary", "changed_at", "split")


@dataclass(frozen=True)
class Made:
    """Number of questions, by category among the rule-made ones, and of what was dropped, by reason."""

    count: int
    by_category: dict[str, int]
    by_origin: dict[str, int]
    dropped: dict[str, int]


class _Source:
    """The passages in the forms that the four makers of questions read."""

    def __init__(self, passages: "pd.DataFrame") -> None:
        self.rows: list[PassageRow] = rows_of(passages)
        self.docs: list[Doc] = read_docs(self.rows)
        self.ids: list[str] = passages["passage_id"].tolist()
        self.texts: list[str] = passages["text"].tolist()
        self.splits: list[str] = passages["split"].tolist()
        self.asked_at = passages["changed_at"].max()

    def gold(self, indices: "list[int] | tuple[int, ...]") -> list[str]:
        return [self.ids[i] for i in indices]


def make_qa(passages: str | Path, settings: QASettings, out: str | Path) -> Made:
    """Write the questions about ``passages`` (parquet of ingest) to ``out`` (parquet; columns ``choose.COLUMNS``).

    Rule-made rows lie in the split of their file; persona rows in split "persona", which nothing is fitted on, or
    "calibration", which confidence alone is fitted on; rows of a generator and of feedback in "train". SluiceError: the
    file is missing or lacks a column, or no question came out.
    """
    import pandas as pd

    source = _Source(_read(Path(passages)))
    dropped: Counter[str] = Counter()
    rows = _rules(source, settings, dropped)
    rows += _personas(source, load_personas(settings.personas), dropped)
    rows += _generated(source, settings, rows) if settings.generator_questions else []
    rows += _votes(source, settings, rows, dropped) if settings.feedback else []
    if not rows:
        raise SluiceError(f"{passages}: no sentence made a question; the source needs documented code or prose")
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).drop_duplicates("question_id", ignore_index=True)
    frame["asked_at"] = pd.to_datetime(frame["asked_at"], utc=True).astype("datetime64[us, UTC]")
    with atomic_file(out) as scratch:
        frame.to_parquet(scratch, index=False, coerce_timestamps="us")
    rule = frame[frame["origin"] == "rule"]
    made = Made(len(frame), _counts(rule["category"]), _counts(frame["origin"]), dict(sorted(dropped.items())))
    log.info("%d questions (%s); dropped: %s", made.count, made.by_category, tell(dropped))
    return made


def _counts(column: "pd.Series[str]") -> dict[str, int]:
    return {str(k): int(v) for k, v in sorted(column.value_counts().items())}


def _read(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        raise SluiceError(f"{path}: no passages; run ingest first")
    frame = pd.read_parquet(path)
    missing = [c for c in _NEEDED if c not in frame.columns]
    if missing:
        raise SluiceError(f"{path}: no column {', '.join(map(repr, missing))}; expected what components/ingest writes")
    return frame


def _rules(source: _Source, settings: QASettings, dropped: Counter[str]) -> list[tuple[Any, ...]]:
    made = list(candidates(source.rows, source.docs))
    # A question of the persona set must not come up in training under another origin.
    hidden = {normal(p.question) for p in load_personas(settings.personas)}
    made = [c for c in made if normal(c.asked.question) not in hidden]
    chosen, why = choose(
        made,
        Holders(source.texts),
        source.splits,
        settings.per_passage,
        settings.max_gold,
        settings.max_questions,
    )
    dropped.update(why)
    rows = []
    for candidate, gold in chosen:
        place, sentence = source.rows[candidate.passage], squeeze(candidate.sentence)
        if sentence not in squeeze(source.texts[candidate.passage]):
            dropped["answer not word for word in its passage"] += 1
            continue
        rows.append(
            row(
                candidate.asked.question, sentence, source.gold(gold), place.path, candidate.asked.category,
                source.splits[candidate.passage], "rule", source.asked_at, withheld=sentence,
            )
        )  # fmt: skip
    return rows


def _personas(source: _Source, personas: tuple[PersonaQuestion, ...], dropped: Counter[str]) -> list[tuple[Any, ...]]:
    """The questions that are about this source, each with a sentence that answers it; none where few symbols are."""
    places, rows = places_of(source.rows), []
    symbols = {entry.partition("#")[0] for question in personas for entry in question.gold if "::" in entry}
    ours = len(symbols & places.keys()) >= _LEAST_SYMBOLS
    for question in personas:
        gold = resolve(question, places, source.texts) if ours else []
        if not ours or bool(gold) != bool(question.gold):
            dropped["persona question about another source"] += 1
            continue
        path = source.rows[gold[0]].path if gold else ""
        rows.append(
            row(
                question.question, _answer(source, question, gold), source.gold(gold), path, question.category,
                split_of(question.question, path), "persona", source.asked_at, persona=question.persona,
                places=question.paths(),
            )
        )  # fmt: skip
    return rows


def _answer(source: _Source, question: PersonaQuestion, gold: list[int]) -> str:
    """The sentence that begins with the phrase that narrowed the gold, else the first passage's summary or title."""
    for index in gold:
        told = squeeze(source.texts[index])
        for entry in question.gold:
            phrase = squeeze(entry.partition("#")[2])
            for sentence in spoken(source.rows[index].doc, 99) if phrase else ():
                if sentence.startswith(phrase) and sentence in told:
                    return sentence
    return _summary(source, gold[0]) if gold else ""


def _summary(source: _Source, index: int) -> str:
    text, summary = source.texts[index], source.rows[index].summary
    return squeeze(summary if summary and summary in squeeze(text) else text.split("\n", 1)[0])


def _generated(source: _Source, settings: QASettings, made: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Only of training files: the frozen test set is the rules' and the personas'."""
    from components.make_qa.generator import write_questions

    train = [i for i, split in enumerate(source.splits) if split == "train" and source.docs[i].sentences]
    train.sort(key=lambda i: identity("generator", source.ids[i]))
    known = {normal(r[1]) for r in made}
    rows = []
    for one in write_questions(source.rows, source.texts, train[: settings.generator_questions], settings):
        if normal(one.question) not in known:
            gold, path = source.gold([one.passage]), source.rows[one.passage].path
            rows.append(row(one.question, one.answer, gold, path, one.category, "train", "llm", source.asked_at))
    return rows


def _votes(
    source: _Source, settings: QASettings, made: list[tuple[Any, ...]], dropped: Counter[str]
) -> list[tuple[Any, ...]]:
    """Labelled votes, except what would teach the answers of the held-out sets: their questions and their files."""
    votes = read_votes()
    if votes is None:
        return []
    split = COLUMNS.index("split")
    held_out = {normal(r[1]) for r in made if r[split] != "train"}
    held_out |= {normal(p.question) for p in load_personas(settings.personas)}
    ids, names = {p: i for i, p in enumerate(source.ids)}, names_of(source.rows)
    rows = []
    for vote in votes.itertuples(index=False):
        question = squeeze(str(vote.asked))
        gold = gold_of(vote, ids, names)
        if not gold:
            dropped["vote that names no passage"] += 1
        elif normal(question) in held_out or any(source.splits[i] != "train" for i in gold):
            dropped["vote about a held-out question or file"] += 1
        else:
            answer, path = _summary(source, gold[0]), source.rows[gold[0]].path
            category = category_of(question)
            rows.append(row(question, answer, source.gold(gold), path, category, "train", "feedback", vote.at))
    return rows
