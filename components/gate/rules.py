"""What a task declares about its quality gate; `components.gate.judge.examine` does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pandas as pd

from components.common.levels import SERVED, Entry, Level, Metric, Panel, Scores, Tables, Tile
from components.gate.compare import Check, different
from components.gate.settings import GateSettings
from serving.contract.errors import SluiceError

RIVALS = ("challenger", "champion", "base")
S = TypeVar("S", bound=GateSettings)
Floors = dict[str, tuple[float, float]]
"""Value and least value by name."""
Constant = Callable[[pd.DataFrame, Scores], Scores]
"""From the challenger's rows [n] and its scores on them to the scores of one output for every example."""


@dataclass(frozen=True)
class Versus:
    """A comparison: ``mine`` against ``rival``, called ``against``; see `compare.check` for bound, end and name.

    Unless it is a gate's first, it is left out where the predictions hold no row that its metric is of.
    """

    metric: Metric
    against: str
    rival: Entry | Constant
    mine: Entry = SERVED
    bound: float = 0.0
    end: str = "low"
    name: str = ""


def gain(metric: Metric, s: GateSettings) -> Versus:
    """Better than the champion by more than the margin; nothing trained (``refresh``): not worse by the tolerance."""
    return Versus(metric, "the champion", Entry("champion"), bound=-s.tolerance if s.refresh else s.margin)


def held(metric: Metric, tolerance: float) -> Versus:
    """Surely not worse than the champion by ``tolerance``."""
    return Versus(metric, "the champion", Entry("champion"), bound=-tolerance)


def beaten(metric: Metric, against: str, rival: Entry, s: GateSettings, name: str = "") -> Versus:
    """Better than what is trivial or untrained; nothing trained (``refresh``): at least not worse beyond doubt."""
    end, bound = ("high", -s.tolerance) if s.refresh else ("low", 0.0)
    return Versus(metric, against, rival, bound=bound, end=end, name=name)


@dataclass(frozen=True)
class Captions:
    """The page's words about a task: what the levels and the facts show, what an example is called, the levels' top."""

    levels: str
    facts: str = ""
    unit: str = "examples"
    top: float | None = None


@dataclass(frozen=True)
class Rivals:
    """The three prediction tables of one decision."""

    challenger: pd.DataFrame
    champion: pd.DataFrame
    base: pd.DataFrame

    def of(self, who: str) -> pd.DataFrame:
        """The table of "challenger", "champion" or "base"."""
        found: pd.DataFrame = getattr(self, who)
        return found

    def task(self) -> str:
        """The task all three were evaluated for. Errors: `SluiceError` if they do not say, or differ."""
        tasks = {
            who: str(t["task"].iloc[0]) if "task" in t and len(t) else "none" for who in RIVALS for t in [self.of(who)]
        }
        if len(set(tasks.values())) != 1 or "none" in tasks.values():
            told = ", ".join(f"{who}: {task}" for who, task in tasks.items())
            raise SluiceError(f"predictions: the rivals are of different tasks ({told}); evaluate all three again")
        return tasks["challenger"]


@dataclass(frozen=True)
class QualityGate(Generic[S]):
    """A task's quality gate: `GATE` of components/tasks/<task>/gating.py.

    ``example``: the column of the examples' ids. ``columns`` that predictions need. ``system``: the column that names
    the systems of a table, "" where it holds one only. ``outputs``: the columns that make two models the same.
    ``rules``, the first of which the verdict speaks of, decide; ``slices`` (metric, column of groups) may not fall;
    ``facts`` are shown only. ``panels`` and ``captions``: the levels on the page. ``tiles`` of the release report:
    (label, value, note). ``floors``: least scores of the challenger. ``limits``: other values, each with the least
    that it may be, by name. ``extra``: checks that are no paired comparison of scores.
    """

    settings: type[S]
    example: str
    columns: tuple[str, ...]
    outputs: tuple[str, ...]
    captions: Captions
    rules: Callable[[S], Sequence[Versus]]
    slices: Callable[[S], Sequence[tuple[Metric, str]]]
    panels: Sequence[Panel]
    tiles: Callable[[Examined, S], list[Tile]]
    system: str = ""
    facts: Callable[[S], Sequence[Versus]] = lambda _: ()
    floors: Callable[[S], Mapping[str, tuple[Metric, float]]] = lambda _: {}
    limits: Callable[[Predictions, S], Floors] = lambda *_: {}
    extra: Callable[[Predictions, S], list[Check]] = lambda *_: []


class Predictions(Tables):
    """The rivals' tables, read as ``gate`` declares them.

    Errors: `SluiceError` if a table lacks a column, or they do not hold the same examples: anything else is no paired
    comparison.
    """

    def __init__(self, gate: QualityGate[S], rivals: Rivals) -> None:
        super().__init__(gate.example, {who: rivals.of(who) for who in RIVALS}, gate.system)
        self._outputs = gate.outputs
        for who, table in self.tables.items():
            if missing := [c for c in gate.columns if c not in table.columns]:
                raise SluiceError(f"predictions of the {who}: no column {', '.join(missing)} (see components/evaluate)")
        asked = {who: set(table[gate.example]) for who, table in self.tables.items()}
        for who in RIVALS[1:]:
            if odd := asked["challenger"] ^ asked[who]:
                raise SluiceError(different("the challenger", f"the {who}", odd))

    def unchanged(self) -> bool:
        """Whether challenger and champion gave the same outputs to every example."""
        one, two = (self.rows(Entry(who)) for who in RIVALS[:2])
        same = [_plain(one[c]) == _plain(two[c]) for c in self._outputs]
        return one.index.equals(two.index) and all(same)


def _plain(column: pd.Series[Any]) -> list[Any]:
    return [value if isinstance(value, str) or not hasattr(value, "__len__") else list(value) for value in column]


@dataclass(frozen=True)
class Examined:
    """What a task's tiles are made of: the predictions, the levels and the checks that decide."""

    read: Predictions
    levels: list[Level]
    checks: list[Check]

    def tile(self, label: str, panel: str, metric: str, beside: Mapping[str, str], form: str = "{:.3f}") -> list[Tile]:
        """The challenger's level and those of others (title by the word in the note); [] where nothing has it."""
        at = {str(r["who"]): float(r["mean"]) for r in self.levels if (r["set"], r["metric"]) == (panel, metric)}
        if not at:
            return []
        note = ", ".join(f"{word} {form.format(at[title])}" for word, title in beside.items())
        return [(label, form.format(next(iter(at.values()))), note)]
