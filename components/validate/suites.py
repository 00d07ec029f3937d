"""Expectations in code and their run by Great Expectations: which rows fail, by which one, in plain words."""

import logging
import os
import re
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "val", "test")
_WORD = re.compile(r"\w+")
_SUSPECT = re.compile(r"[^\x00-\x7f]")


class Rule(NamedTuple):
    """An expectation: its name, what it wants in words, the reason a failing row is given, GX's type and arguments."""

    name: str
    wants: str
    reason: str
    type: str
    arguments: dict[str, Any]


class Outcome(NamedTuple):
    """What an expectation found: does it hold for every row, how many it saw, the numbers of those that failed."""

    rule: Rule
    passed: bool
    rows: int
    failed: list[int]


def between(name: str, column: str, wants: str, reason: str, least: float | None, most: float | None) -> Rule:
    """Every value of ``column`` lies from ``least`` to ``most`` (None: no limit)."""
    limits = {"min_value": least, "max_value": most}
    return Rule(name, wants, reason, "ExpectColumnValuesToBeBetween", {"column": column, **limits})


def among(name: str, column: str, wants: str, reason: str, values: tuple[Any, ...]) -> Rule:
    """Every value of ``column`` is one of ``values``."""
    return Rule(name, wants, reason, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)})


UNDAMAGED = between("encoding", "damage", "no mojibake", "damaged encoding", None, 2)
"""On a column of `damage`: ftfy's badness score of a text, from which 3 is damage."""


class Examiner:
    """Great Expectations in an ephemeral context: nothing is written, nothing is sent anywhere."""

    def __init__(self) -> None:
        os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read once, when the library is imported
        logging.getLogger("great_expectations").setLevel(logging.WARNING)  # it tells hundreds of lines on import
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the modules that it imports
            import great_expectations as gx
        self._gx = gx
        self._context = gx.get_context(mode="ephemeral")
        self._context.variables.progress_bars = {"globally": False, "metric_calculations": False}
        self._source = self._context.data_sources.add_pandas("tables")

    def examine(self, name: str, table: "pd.DataFrame", rules: list[Rule]) -> list[Outcome]:
        """Validate ``table`` (a column row_id, and those the rules name) against one suite; an outcome a rule."""
        suite = self._context.suites.add(self._gx.ExpectationSuite(name=name))
        for rule in rules:
            kind = getattr(self._gx.expectations, rule.type)
            suite.add_expectation(kind(**rule.arguments, meta={"name": rule.name}))
        asset = self._source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        # Row numbers, not ids, name the rows: a repeated id must not condemn the first row that bears it.
        batch = asset.get_batch({"dataframe": table.assign(row_number=range(len(table)))})
        how = {"result_format": "COMPLETE", "unexpected_index_column_names": ["row_number"]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pandas and marshmallow deprecations inside the library
            results = {r.expectation_config.meta["name"]: r for r in batch.validate(suite, result_format=how).results}
        return [self._outcome(rule, results[rule.name], len(table)) for rule in rules]

    @staticmethod
    def _outcome(rule: Rule, result: Any, rows: int) -> Outcome:
        if not result.result:  # the expectation itself broke: a fault of ours, not of the data
            raise RuntimeError(f"expectation {rule.name!r} could not be evaluated: {result.exception_info}")
        bad = [int(row["row_number"]) for row in result.result.get("unexpected_index_list") or []]
        return Outcome(rule, bool(result.success), rows, bad)


def normal(text: str) -> str:
    """Lower-case words, one blank between: what is left when white space, case and punctuation do not count."""
    return " ".join(_WORD.findall(text.lower()))


def damage(text: str) -> int:
    """Signs of broken encoding: 100 a replacement character, plus ftfy's badness score (0 = none)."""
    if _SUSPECT.search(text) is None:
        return 0
    from ftfy.badness import badness

    return 100 * text.count("\ufffd") + int(badness(text))
