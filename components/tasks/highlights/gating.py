"""The quality gate of highlights: ROUGE of every document against champion, base, and everything trivial.

The mean of ROUGE-1 and ROUGE-2 decides. ROUGE-1 alone is fooled: on DialogSum one constant sentence reached 25.3 where
a trained model had 29.4. ROUGE-2 alone is zero for many a good summary, so its intervals are wide. Therefore the mean
decides, and ROUGE-2 may not fall.
"""

from __future__ import annotations

import pandas as pd
from pydantic import Field

from components.gate.compare import Check, Measure, Scores, check, level, slices
from components.gate.judge import Captions, Level, Quality, Rivals, same_examples
from components.gate.settings import GateSettings
from components.tasks.highlights.evaluating.systems import SYSTEMS, distinct
from components.tasks.highlights.rouge import PROTOCOL
from serving.contract.errors import SluiceError

COLUMNS = (
    "document_id", "system", "source", "condition", "bullets", "rouge1", "rouge2", "rouge12", "rougeLsum",
    "length_ratio", "redundancy",
)  # fmt: skip
MAIN = Measure(f"rouge12_{PROTOCOL}_test", "mean of ROUGE-1 and ROUGE-2", "the test set")
SECOND = Measure(f"rouge2_{PROTOCOL}_test", "ROUGE-2", "the test set")
SHOWN = {"rouge1": "ROUGE-1 F", "rouge2": "ROUGE-2 F", "rougeLsum": "ROUGE-L F"}
LEVELS = (
    "ROUGE F1 (stemmed, one reference) with 95 % bootstrap intervals over documents. Lead, longest and constant are "
    "what any summary has to beat; the oracle knows the reference."
)
FACTS = (
    "Paired differences on the same documents with 95 % bootstrap intervals; right of zero the challenger is better."
)


class Settings(GateSettings):
    """Section ``gate`` of a highlighter; differences are ROUGE F1 (0..1).

    ``margin``: what the challenger must surely gain on the champion. ``tolerance``: how much ROUGE-2 may surely lose.
    ``floor``: least mean of ROUGE-1 and ROUGE-2. ``diversity``: least share of distinct bullets among all. ``longest``:
    largest mean share of the document's words. ``most_redundant``: largest mean redundancy.
    """

    tolerance: float = Field(0.02, ge=0)
    slice_tolerance: float = Field(0.03, ge=0)
    min_slice: int = Field(8, ge=2)
    floor: float = Field(0.1, ge=0)
    diversity: float = Field(0.9, ge=0, le=1)
    longest: float = Field(0.3, gt=0, le=1)
    most_redundant: float = Field(0.5, gt=0, le=1)


def examine(rivals: Rivals, settings: Settings) -> Quality:
    """Compare the challenger with champion, base model, LEAD, longest sentences and a constant output; then by slice.

    Errors: `SluiceError` if the three tables do not hold the same documents, or lack a column or system.
    """
    rivals.require(COLUMNS)
    same_examples(rivals, "document_id")
    mine, theirs = scores(rivals.challenger), scores(rivals.champion)
    checks = _checks(rivals, settings)
    groups = _rows(rivals.challenger, "served")
    rows = levels(rivals, settings)
    return Quality(
        main=checks[0],
        checks=checks,
        slices=[c for by in ("source", "condition") for c in slices(mine, theirs, groups[by], by, MAIN, settings)],
        facts=_facts(rivals, settings),
        limits=_limits(groups, settings),
        levels=rows,
        unchanged=_bullets(rivals.challenger) == _bullets(rivals.champion),
        tiles=_tiles(rows),
        captions=Captions(LEVELS, FACTS, "documents"),
    )


def _rows(table: pd.DataFrame, system: str) -> pd.DataFrame:
    chosen = table[table["system"] == system]
    if chosen.empty:
        raise SluiceError(f"predictions: no rows of system {system!r}; evaluate the bundle again")
    return chosen.set_index("document_id").sort_index()


def scores(table: pd.DataFrame, score: str = "rouge12", system: str = "served") -> Scores:
    """One system's scores of every document, out of predictions.parquet."""
    return Scores.of(_rows(table, system)[score])


def _bullets(table: pd.DataFrame) -> list[list[str]]:
    return [list(bullets) for bullets in _rows(table, "served")["bullets"]]


def _checks(rivals: Rivals, s: Settings) -> list[Check]:
    """Champion first; what is trivial must be beaten, or (``refresh``) must not surely beat the challenger."""
    mine, base = scores(rivals.challenger), scores(rivals.base)
    gain = -s.tolerance if s.refresh else s.margin
    end, least = ("high", -s.tolerance) if s.refresh else ("low", 0.0)
    second = scores(rivals.challenger, "rouge2"), scores(rivals.champion, "rouge2")
    found = [
        check(mine, scores(rivals.champion), MAIN, "the champion", gain, s),
        check(*second, SECOND, "the champion", -s.tolerance, s),
        check(mine, base, MAIN, "the untrained base model", least, s, end),
    ]
    rules = {"lead": (least, end), "longest": (least, end), "constant": (0.0, "low")}
    for system, (bound, side) in rules.items():
        other = scores(rivals.challenger, system=system)
        found.append(check(mine, other, MAIN, SYSTEMS[system], bound, s, side, f"{MAIN.name} vs {system}"))
    return found


def _facts(rivals: Rivals, s: Settings) -> list[Check]:
    """Every score against the base model and LEAD: shown, not decided on."""
    found = []
    for score, title in SHOWN.items():
        measure = Measure(f"{score}_{PROTOCOL}_test", title, "the test set")
        mine = scores(rivals.challenger, score)
        others = {"base": scores(rivals.base, score), "lead": scores(rivals.challenger, score, "lead")}
        for name, theirs in others.items():
            found.append(check(mine, theirs, measure, name, 0.0, s, name=f"{title} vs {name}"))
    return found


def _limits(served: pd.DataFrame, s: Settings) -> dict[str, tuple[float, float]]:
    return {
        MAIN.name: (float(served["rouge12"].mean()), s.floor),
        "distinct bullets, share of all": (distinct(served), s.diversity),
        "shorter than the document by": (1 - float(served["length_ratio"].mean()), 1 - s.longest),
        "free of repetition (1 - redundancy)": (1 - float(served["redundancy"].mean()), 1 - s.most_redundant),
    }


def levels(rivals: Rivals, s: Settings) -> list[Level]:
    """Means and 95 % intervals of every rival and trivial system."""
    who = {
        "challenger": (rivals.challenger, "served"),
        "champion": (rivals.champion, "served"),
        "base model, untrained head": (rivals.base, "served"),
        **{title: (rivals.challenger, system) for system, title in SYSTEMS.items() if system != "served"},
    }
    rows: list[Level] = []
    for title, (table, system) in who.items():
        for score, name in SHOWN.items():
            found = scores(table, score, system)
            key: Level = {"set": "Test set", "who": title, "metric": name, "n": len(found.ids)}
            rows.append({**key, **level(found, s)._asdict()})
    return rows


def _tiles(rows: list[Level]) -> list[tuple[str, str, str]]:
    found = {(r["who"], r["metric"]): float(r["mean"]) for r in rows}
    base, lead = "base model, untrained head", SYSTEMS["lead"]
    return [
        (name, f"{found['challenger', name]:.3f}", f"base {found[base, name]:.3f}, LEAD {found[lead, name]:.3f}")
        for name in list(SHOWN.values())[:2]
    ]
