"""The quality gate of transcription: errors of every utterance, old voices, a constant output, repetition.

Differences are fewer errors per 100 words: positive where the challenger is better, though an error rate falls then.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from pydantic import Field

from components.common.levels import SERVED, Entry, Panel, Scores, Subset, Tile
from components.gate import rules
from components.gate.compare import LEVEL
from components.gate.settings import GateSettings
from components.tasks.transcription.evaluating.hear import FEWER, LETTERS

WHO = {"challenger": SERVED, "champion": Entry("champion"), "base model": Entry("base")}
BY = "WER in % by condition"
LOOP_WORDS, LOOP_TURNS = 4, 4
CANDIDATES = 40


class Settings(GateSettings):
    """Section ``gate`` of a transcriber; margins and tolerances are errors per 100 words.

    ``margin``: how many fewer errors than the champion the challenger must surely make. ``known``: the condition that
    holds what the model could do before; there it must surely lose less than ``known_tolerance``, which 26 sentences
    with 8 % of errors can just show: their interval is about 3 wide to each side. ``max_wer``: the word error rate on
    the test set that may not be passed. ``diversity``: least number of distinct transcripts, as a share of the distinct
    references. ``max_loops``: share of transcripts that may repeat themselves endlessly.
    """

    tolerance: float = Field(1.0, ge=0)
    slice_tolerance: float = Field(0.5, ge=0)
    min_slice: int = Field(8, ge=2)
    diversity: float = Field(0.8, ge=0)
    known: str = "known"
    known_tolerance: float = Field(5.0, ge=0)
    max_wer: float = Field(0.4, gt=0)
    max_loops: float = Field(0.02, ge=0, le=1)


def _rules(s: Settings) -> list[rules.Versus]:
    known = replace(FEWER, name=f"fewer_errors_per_100_words_{s.known}", where=f"the condition {s.known}",
                    only=Subset("condition", s.known))  # fmt: skip
    return [
        rules.gain(FEWER, s),
        rules.beaten(FEWER, "the base model", Entry("base"), s),
        rules.Versus(FEWER, "one constant output", constant),
        rules.held(known, s.known_tolerance),
    ]


def constant(rows: pd.DataFrame, mine: Scores) -> Scores:
    """Scores of a system that always says the same: of the references, the one that makes the fewest errors."""
    from rapidfuzz.distance import Levenshtein

    said = rows["said"].str.split()
    texts = said.str.join(" ").value_counts(sort=True)
    options = [text.split() for text in sorted(texts.index, key=lambda t: (-texts[t], t))[:CANDIDATES]]
    errors = [np.array([Levenshtein.distance(one, option) for one in said], np.float64) for option in options]
    return mine.with_values(-100.0 * min(errors, key=lambda found: float(found.sum())))


def _facts(s: Settings) -> list[rules.Versus]:
    """Fine-tuned against not, in words, on what it was tuned for alone, and in characters."""
    new = replace(FEWER, name=f"fewer_errors_per_100_words_not_{s.known}", where=f"all but {s.known}",
                  only=Subset("condition", s.known, inside=False))  # fmt: skip
    base, who = Entry("base"), "the base model"
    return [rules.Versus(m, who, base, name=f"{m.what} than {who}") for m in (FEWER, new, LETTERS)]


def _limits(read: rules.Predictions, s: Settings) -> rules.Floors:
    table = read.rows()
    accuracy = 1 - float(table["errors"].sum() / max(1, table["words"].sum()))
    distinct = table["heard"].nunique() / max(1, table["said"].nunique())
    calm = 1 - float(np.mean([loops(heard) for heard in table["heard"]]))
    return {
        "word accuracy (1 - WER) on the test set": (accuracy, 1 - s.max_wer),
        "distinct transcripts, share of the distinct references": (distinct, s.diversity),
        "transcripts that do not repeat themselves": (calm, 1 - s.max_loops),
    }


def loops(text: str) -> bool:
    """True where one to four words come four times or more in a row, as when a decoder is caught in a loop.

    Digits may repeat: people say numbers such as 7 7 7 7.
    """
    words = text.split()
    for size in range(1, LOOP_WORDS + 1):
        run = 1
        for at in range(size, len(words) - size + 1, size):
            phrase = words[at : at + size]
            same = phrase == words[at - size : at] and not all(word.isdigit() for word in phrase)
            run = run + 1 if same else 1
            if run >= LOOP_TURNS:
                return True
    return False


def _tiles(found: rules.Examined, s: Settings) -> list[Tile]:
    beside, gap = {"before": "base model", "champion": "champion"}, found.checks[1].gap
    letters = (found.read.scores(LETTERS, Entry(who)) for who in ("challenger", "base"))
    mine, base = (scores.level(LEVEL, s.seed, lower=True).mean for scores in letters)
    return [
        *found.tile("Word error rate, test", BY, "all", beside, "{:.1f} %"),
        ("Fewer errors per 100 words", f"{gap.mean:+.1f}", f"95 % {gap.low:+.1f} to {gap.high:+.1f}, than before"),
        *found.tile(f"The same, condition {s.known}", BY, s.known, beside, "{:.1f} %"),
        ("Character error rate", f"{mine:.1f} %", f"before {base:.1f} %"),
    ]


GATE = rules.QualityGate(
    settings=Settings,
    example="utterance_id",
    columns=("utterance_id", "speaker", "condition", "said", "heard", "words", "errors", "characters",
             "character_errors"),
    outputs=("heard",),
    captions=rules.Captions(
        "Word error rate in percent with 95 % bootstrap intervals over utterances: edits over words said, after "
        "Whisper's own normaliser. Lower is better. The base model is before fine-tuning, the challenger after.",
        "Paired differences on the same utterances with 95 % bootstrap intervals; right of zero the challenger makes "
        "fewer errors.",
        "utterances",
    ),
    rules=_rules,
    slices=lambda _: [(FEWER, "condition"), (FEWER, "speaker")],
    facts=_facts,
    panels=(
        Panel(BY, WHO, {"all": FEWER}, (FEWER, "condition")),
        Panel("WER in % by speaker", WHO, by=(FEWER, "speaker")),
    ),
    limits=_limits,
    tiles=_tiles,
)  # fmt: skip
