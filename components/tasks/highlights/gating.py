"""The quality gate of highlights: ROUGE of every document against champion, base, and everything trivial.

The mean of ROUGE-1 and ROUGE-2 decides. ROUGE-1 alone is fooled: on DialogSum one constant sentence reached 25.3 where
a trained model had 29.4. ROUGE-2 alone is zero for many a good summary, so its intervals are wide. Therefore the mean
decides, and ROUGE-2 may not fall.
"""

from __future__ import annotations

from pydantic import Field

from components.common.levels import SERVED, Entry, Metric, Panel, Tile
from components.gate import rules
from components.gate.settings import GateSettings
from components.tasks.highlights.evaluating.systems import SHOWN, SYSTEMS, distinct
from components.tasks.highlights.rouge import PROTOCOL


def _rouge(column: str, what: str) -> Metric:
    return Metric(f"{column}_{PROTOCOL}_test", what, "the test set", column)


MAIN, SECOND = _rouge("rouge12", "mean of ROUGE-1 and ROUGE-2"), _rouge("rouge2", "ROUGE-2")
BASE, LEAD = "base model, untrained head", SYSTEMS["lead"]
WHO = {"challenger": SERVED, "champion": Entry("champion"), BASE: Entry("base")}
WHO |= {title: Entry(system=system) for system, title in SYSTEMS.items() if system != "served"}


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


def _rules(s: Settings) -> list[rules.Versus]:
    return [
        rules.gain(MAIN, s),
        rules.held(SECOND, s.tolerance),
        rules.beaten(MAIN, "the untrained base model", Entry("base"), s),
        rules.beaten(MAIN, SYSTEMS["lead"], Entry(system="lead"), s, f"{MAIN.name} vs lead"),
        rules.beaten(MAIN, SYSTEMS["longest"], Entry(system="longest"), s, f"{MAIN.name} vs longest"),
        rules.Versus(MAIN, SYSTEMS["constant"], Entry(system="constant"), name=f"{MAIN.name} vs constant"),
    ]


def _facts(_: Settings) -> list[rules.Versus]:
    others = {"base": Entry("base"), "lead": Entry(system="lead")}
    return [rules.Versus(m, one, others[one], name=f"{m.what} vs {one}") for m in SHOWN.values() for one in others]


def _limits(read: rules.Predictions, s: Settings) -> rules.Floors:
    served = read.rows()
    return {
        "distinct bullets, share of all": (distinct(served), s.diversity),
        "shorter than the document by": (1 - float(served["length_ratio"].mean()), 1 - s.longest),
        "free of repetition (1 - redundancy)": (1 - float(served["redundancy"].mean()), 1 - s.most_redundant),
    }


def _tiles(found: rules.Examined, _: Settings) -> list[Tile]:
    beside = {"base": BASE, "LEAD": LEAD}
    return [tile for name in list(SHOWN)[:2] for tile in found.tile(name, "Test set", name, beside)]


GATE = rules.QualityGate(
    settings=Settings,
    example="document_id",
    system="system",
    columns=("document_id", "system", "source", "condition", "bullets", "rouge1", "rouge2", "rouge12", "rougeLsum",
             "length_ratio", "redundancy"),
    outputs=("bullets",),
    captions=rules.Captions(
        "ROUGE F1 (stemmed, one reference) with 95 % bootstrap intervals over documents. Lead, longest and constant "
        "are what any summary has to beat; the oracle knows the reference.",
        "Paired differences on the same documents with 95 % bootstrap intervals; right of zero the challenger is "
        "better.",
        "documents",
    ),
    rules=_rules,
    slices=lambda _: [(MAIN, "source"), (MAIN, "condition")],
    facts=_facts,
    panels=(Panel("Test set", WHO, SHOWN),),
    floors=lambda s: {MAIN.name: (MAIN, s.floor)},
    limits=_limits,
    tiles=_tiles,
)  # fmt: skip
