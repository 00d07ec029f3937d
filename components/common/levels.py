"""How well everyone does: metrics declared once, read out of predictions, with intervals, drawn and told one way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from components.common.page import COLOURS, legend_below, new_figure
from components.common.scores import Floats, Interval, rate
from serving.contract.errors import SluiceError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Level = dict[str, Any]
"""One score of one system: set, who, metric, n, mean, low, high."""
Tile = tuple[str, str, str]


@dataclass(frozen=True)
class Scores:
    """One system's scores, one an example, greater is better: ``ids`` sorted [n], ``values`` and ``weights`` [n].

    The system's score is the sum of the values over the sum of the weights: the mean where every weight is 1, and a
    rate, such as errors over words, where they are sizes. Weights belong to the examples: all systems share them.
    """

    ids: pd.Index[str]
    values: Floats
    weights: Floats

    @classmethod
    def of(cls, values: pd.Series[float], weights: pd.Series[float] | None = None) -> Scores:
        """From series indexed by example id. Errors: `SluiceError` for an example that is there twice, or for none."""
        if values.empty:
            raise SluiceError("predictions: no rows to compare; evaluate the bundle again")
        if values.index.has_duplicates:
            twice = values.index[values.index.duplicated()][0]
            raise SluiceError(f"predictions: example {twice} is there twice; evaluate the bundle again")
        found = values.sort_index()
        sizes = np.ones(len(found)) if weights is None else weights.reindex(found.index)
        return cls(found.index, np.asarray(found, np.float64), np.asarray(sizes, np.float64))

    def part(self, rows: np.ndarray) -> Scores:
        """The examples where ``rows`` (bool [n]) is true."""
        return Scores(self.ids[rows], self.values[rows], self.weights[rows])

    def with_values(self, values: Floats) -> Scores:
        """The same examples, scored otherwise."""
        return Scores(self.ids, values, self.weights)

    @property
    def mean(self) -> float:
        """The system's score."""
        return float(self.values.sum() / self.weights.sum())

    def level(self, resamples: int, seed: int, lower: bool = False) -> Interval:
        """The score with its interval; if less of it is better (``lower``), as it was measured."""
        mean, low, high = rate(self.values, self.weights, resamples, seed)
        return Interval(0.0 - mean, 0.0 - high, 0.0 - low) if lower else Interval(mean, low, high)


@dataclass(frozen=True)
class Measure:
    """A score's name with its protocol, and its words for people: "MRR" on "the test set"."""

    name: str
    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what} on {self.where}"


class Subset(NamedTuple):
    """The rows whose ``column`` is ``value``, or (``inside`` false) all but those."""

    column: str
    value: str
    inside: bool = True

    def of(self, table: pd.DataFrame) -> pd.Series[bool]:
        """Which rows of ``table`` it takes."""
        found: pd.Series[bool] = table[self.column] == self.value
        return found if self.inside else ~found


@dataclass(frozen=True)
class Metric(Measure):
    """A measure that is read out of predictions, one value an example.

    ``column`` holds it, or what ``score`` (an array to an array) makes it of; times ``scale``. ``lower``: less of it is
    better, as of errors. ``weights``: the column of the examples' sizes, where it is a rate. ``only``: the rows that it
    is of, where not of all.
    """

    column: str
    score: Callable[[NDArray[Any]], Floats] | None = None
    scale: float = 1.0
    lower: bool = False
    weights: str = ""
    only: Subset | None = None

    def of(self, rows: pd.DataFrame) -> Scores:
        """Scores, greater is better, of rows indexed by example; errors as of `Scores.of`."""
        values = rows[self.column] if self.score is None else self.score(rows[self.column].to_numpy())
        sizes = rows[self.weights].astype("float64") if self.weights else None
        scale = -self.scale if self.lower else self.scale
        return Scores.of(scale * pd.Series(values, index=rows.index), sizes)


class Entry(NamedTuple):
    """Whose outputs: those of the challenger, champion or base, as served or by another system in its table."""

    who: str = "challenger"
    system: str = "served"


SERVED = Entry()


@dataclass(frozen=True)
class Panel:
    """Levels of one picture: every one of ``who`` (by title) in every one of ``metrics`` (by label).

    ``by``: after those a metric of every value that a column has.
    """

    title: str
    who: Mapping[str, Entry]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    by: tuple[Metric, str] | None = None


class Tables:
    """Predictions of one or more, read alike.

    ``example``: the column of the examples' ids. ``tables``: one a name, such as "challenger". ``system``: the column
    that names the systems of a table, "" where it holds one only.
    """

    def __init__(self, example: str, tables: Mapping[str, pd.DataFrame], system: str = "") -> None:
        self.example, self.tables, self.system = example, tables, system

    def rows(self, entry: Entry = SERVED, only: Subset | None = None) -> pd.DataFrame:
        """One's rows, indexed by example and in that order. Errors: `SluiceError` if there are none."""
        table = self.tables[entry.who]
        wanted = [only] if only else []
        wanted += [Subset(self.system, entry.system)] if self.system else []
        for one in wanted:
            table = table[one.of(table)]
        if table.empty:
            told = ", ".join(f"{one.column} {'' if one.inside else 'not '}{one.value!r}" for one in wanted)
            raise SluiceError(f"predictions: no rows of {told or 'the ' + entry.who}; evaluate the bundle again")
        return table.set_index(self.example).sort_index()

    def scores(self, metric: Metric, entry: Entry = SERVED) -> Scores:
        """One's scores in a metric."""
        return metric.of(self.rows(entry, metric.only))

    def has(self, only: Subset | None) -> bool:
        """Whether there are such rows; all but some of them are of no interest where they are all."""
        if not only:
            return True
        chosen = only.of(self.tables[SERVED.who])
        return bool(chosen.any()) and (only.inside or not chosen.all())

    def levels(self, panel: Panel, resamples: int, seed: int) -> Iterator[Level]:
        """Every level of a panel that there are rows for."""
        metrics = {label: metric for label, metric in panel.metrics.items() if self.has(metric.only)}
        for title, entry in panel.who.items():
            shown = [(label, metric, self.scores(metric, entry)) for label, metric in metrics.items()]
            if panel.by and self.has(panel.by[0].only):
                metric, by = panel.by
                whole, groups = self.scores(metric, entry), self.rows(only=metric.only)[by]
                of = groups.reindex(whole.ids)
                shown += [
                    (str(one), metric, whole.part((of == one).to_numpy())) for one in sorted(groups.unique()) if one
                ]
            for label, metric, scores in shown:
                if scores.weights.sum() > 0:
                    key: Level = {"set": panel.title, "who": title, "metric": label, "n": len(scores.ids)}
                    yield {**key, **scores.level(resamples, seed, metric.lower)._asdict()}


def tile(label: str, level: Level) -> Tile:
    """A level as a headline number, its interval below it."""
    return label, f"{level['mean']:.3f}", f"{level['low']:.3f} to {level['high']:.3f}, n = {level['n']}"


def picture(
    rows: Sequence[Level], names: Mapping[str, str] | None = None, top: float | None = None, label: str = "",
    slices: bool = False,
) -> Figure:  # fmt: skip
    """Everyone's levels with intervals, one panel a set, one place a metric.

    ``names``: how sets, systems and metrics are called, where not as in the rows. ``top`` ends the axis, ``label``
    names it. ``slices``: metrics are parts of the examples, so each tells its own size instead of the set.
    """
    names = names or {}
    sets, who = (list(dict.fromkeys(str(row[key]) for row in rows)) for key in ("set", "who"))
    places = {one: {str(row["metric"]): int(row["n"]) for row in rows if row["set"] == one} for one in sets}
    figure = new_figure(9, 3.7)
    ratios = [len(found) + 1 for found in places.values()]
    drawn = figure.subplots(1, len(sets), sharey=True, squeeze=False, width_ratios=ratios)[0]
    for axes, one in zip(drawn, sets, strict=True):
        for i, title in enumerate(who):
            chosen = [row for row in rows if (row["set"], row["who"]) == (one, title)]
            mean, low, high = (np.array([float(row[key]) for row in chosen]) for key in ("mean", "low", "high"))
            shift = (i - (len(who) - 1) / 2) * min(0.16, 0.8 / len(who))
            at = [list(places[one]).index(str(row["metric"])) + shift for row in chosen]
            spread = np.stack([mean - low, high - mean]).clip(0)
            called, colour = names.get(title, title), COLOURS[i % len(COLOURS)]
            axes.errorbar(at, mean, yerr=spread, fmt="o", ms=5, capsize=0, color=colour, label=called)
        ticks = [f"{names.get(m, m)}\nn = {n}" if slices else names.get(m, m) for m, n in places[one].items()]
        axes.set_xticks(range(len(ticks)), ticks)
        if slices:
            axes.set_xlim(-0.5, len(ticks) - 0.5)
        axes.set_ylim(0, top)
        axes.grid(axis="x", visible=False)
        axes.set_title(names.get(one, one) if slices else f"{names.get(one, one)} (n = {max(places[one].values())})")
    if label:
        drawn[0].set_ylabel(label)
    if len(who) > 1:
        legend_below(figure)
    return figure
