"""The quality gate of transcription: errors of every utterance, old voices, a constant output, repetition.

Differences are fewer errors per 100 words: positive where the challenger is better, though an error rate falls then.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from pydantic import Field

from components.gate.compare import Check, Measure, Scores, check, level, slices
from components.gate.judge import Captions, Level, Quality, Rivals, same_examples
from components.gate.settings import GateSettings

COLUMNS = (
    "utterance_id", "speaker", "condition", "said", "heard", "words", "errors", "characters", "character_errors",
)  # fmt: skip
FEWER = Measure("fewer_errors_per_100_words_test", "fewer errors per 100 words", "the test set")
LETTERS = Measure("fewer_errors_per_100_characters_test", "fewer errors per 100 characters", "the test set")
WHO = {"challenger": "challenger", "champion": "champion", "base": "base model"}
LEVELS = (
    "Word error rate in percent with 95 % bootstrap intervals over utterances: edits over words said, after Whisper's "
    "own normaliser. Lower is better. The base model is before fine-tuning, the challenger after."
)
FACTS = (
    "Paired differences on the same utterances with 95 % bootstrap intervals; right of zero the challenger makes fewer "
    "errors."
)
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


def examine(rivals: Rivals, settings: Settings) -> Quality:
    """Compare the challenger with champion, base model and a constant output: whole, by condition and by speaker.

    Errors: `SluiceError` if the three tables do not hold the same utterances, or lack a column.
    """
    rivals.require(COLUMNS)
    same_examples(rivals, "utterance_id")
    mine, theirs = scores(rivals.challenger), scores(rivals.champion)
    checks = _checks(rivals, settings)
    groups = rivals.challenger.set_index("utterance_id")
    fallen = [c for by in ("condition", "speaker") for c in slices(mine, theirs, groups[by], by, FEWER, settings)]
    rows = levels(rivals, settings)
    same = rivals.challenger.set_index("utterance_id")["heard"].sort_index()
    return Quality(
        main=checks[0],
        checks=checks,
        slices=fallen,
        facts=_facts(rivals, settings),
        limits=_limits(rivals.challenger, settings),
        levels=rows,
        unchanged=same.equals(rivals.champion.set_index("utterance_id")["heard"].sort_index()),
        tiles=_tiles(rivals, rows, checks[1], settings),
        captions=Captions(LEVELS, FACTS, "utterances"),
    )


def scores(table: pd.DataFrame, errors: str = "errors", of: str = "words") -> Scores:
    """Minus the errors of every utterance times 100, weighed by its words: a rate of fewer errors per 100 words."""
    rows = table.set_index("utterance_id")
    return Scores.of(-100.0 * rows[errors], rows[of].astype("float64"))


def _checks(rivals: Rivals, s: Settings) -> list[Check]:
    mine, theirs, base = (scores(rivals.of(who)) for who in ("challenger", "champion", "base"))
    bound = -s.tolerance if s.refresh else s.margin
    end, trivial = ("high", -s.tolerance) if s.refresh else ("low", 0.0)
    found = [
        check(mine, theirs, FEWER, "the champion", bound, s),
        check(mine, base, FEWER, "the base model", trivial, s, end, f"{FEWER.name} vs the base model"),
        check(mine, constant(rivals.challenger, mine), FEWER, "one constant output", 0.0, s),
    ]
    known = _known(rivals.challenger, mine, s)
    if known.any():
        measure = Measure(f"fewer_errors_per_100_words_{s.known}", FEWER.what, f"the condition {s.known}")
        old = mine.part(known), theirs.part(known)
        found.append(check(*old, measure, "the champion", -s.known_tolerance, s))
    return found


def _known(table: pd.DataFrame, mine: Scores, s: Settings) -> np.ndarray:
    return np.asarray(table.set_index("utterance_id")["condition"].reindex(mine.ids) == s.known)


def constant(table: pd.DataFrame, mine: Scores) -> Scores:
    """Scores of a system that always says the same: of the references, the one that makes the fewest errors."""
    from rapidfuzz.distance import Levenshtein

    said = table.set_index("utterance_id")["said"].reindex(mine.ids).str.split()
    texts = said.str.join(" ").value_counts(sort=True)
    options = [text.split() for text in sorted(texts.index, key=lambda t: (-texts[t], t))[:CANDIDATES]]
    errors = [np.array([Levenshtein.distance(one, option) for one in said], np.float64) for option in options]
    return mine.with_values(-100.0 * min(errors, key=lambda found: float(found.sum())))


def _facts(rivals: Rivals, s: Settings) -> list[Check]:
    """Fine-tuned against not, in words and characters, and on what it was tuned for alone: shown, not decided on."""
    found = []
    for measure, columns in ((FEWER, ("errors", "words")), (LETTERS, ("character_errors", "characters"))):
        mine, base = (scores(rivals.of(who), *columns) for who in ("challenger", "base"))
        found.append(check(mine, base, measure, "the base model", 0.0, s, name=f"{measure.what} than the base model"))
        new = ~_known(rivals.challenger, mine, s)
        if measure is FEWER and 0 < new.sum() < len(new):
            where = Measure(f"fewer_errors_per_100_words_not_{s.known}", FEWER.what, f"all but {s.known}")
            name = f"{FEWER.what} than the base model"
            found.append(check(mine.part(new), base.part(new), where, "the base model", 0.0, s, name=name))
    return found


def _limits(table: pd.DataFrame, s: Settings) -> dict[str, tuple[float, float]]:
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
            same = words[at : at + size] == words[at - size : at] and not all(
                w.isdigit() for w in words[at : at + size]
            )
            run = run + 1 if same else 1
            if run >= LOOP_TURNS:
                return True
    return False


def levels(rivals: Rivals, s: Settings) -> list[Level]:
    """Word error rate in percent of every rival, all together, by condition and by speaker."""
    rows: list[Level] = []
    for by in ("condition", "speaker"):
        groups = rivals.challenger.set_index("utterance_id")[by].sort_index()
        parts = {"all": np.ones(len(groups), bool)} if by == "condition" else {}
        parts |= {str(name): (groups == name).to_numpy() for name in sorted(groups.unique())}
        for who, title in WHO.items():
            whole = scores(rivals.of(who))
            for name, chosen in parts.items():
                if whole.weights[chosen].sum() > 0:
                    mean, low, high = (abs(v) for v in level(whole.part(chosen), s))
                    key: Level = {"set": f"WER in % by {by}", "who": title, "metric": name, "n": int(chosen.sum())}
                    rows.append({**key, "mean": mean, "low": min(low, high), "high": max(low, high)})
    return rows


def _tiles(rivals: Rivals, rows: list[Level], gain: Check, s: Settings) -> list[tuple[str, str, str]]:
    at = {(r["who"], r["metric"]): float(r["mean"]) for r in rows if str(r["set"]).endswith("condition")}

    def tile(title: str, part: str) -> tuple[str, str, str]:
        note = f"before {at['base model', part]:.1f} %, champion {at['champion', part]:.1f} %"
        return title, f"{at['challenger', part]:.1f} %", note

    letters = {who: scores(rivals.of(who), "character_errors", "characters") for who in ("challenger", "base")}
    cer = {who: abs(level(found, s).mean) for who, found in letters.items()}
    known = [tile(f"The same, condition {s.known}", s.known)] if ("challenger", s.known) in at else []
    gap = gain.gap
    return [
        tile("Word error rate, test", "all"),
        ("Fewer errors per 100 words", f"{gap.mean:+.1f}", f"95 % {gap.low:+.1f} to {gap.high:+.1f}, than before"),
        *known,
        ("Character error rate", f"{cer['challenger']:.1f} %", f"before {cer['base']:.1f} %"),
    ]
