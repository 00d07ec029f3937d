"""The suites, in code, and their run by Great Expectations; which rows fail, by which expectation, in plain words."""

import logging
import os
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from components.validate.settings import ValidateSettings

if TYPE_CHECKING:
    import pandas as pd

KINDS = ("function", "class", "method", "section", "commit", "issue")
SPLITS = ("train", "val", "test")
CATEGORIES = ("what", "why", "how", "parameters", "changed")


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


def _between(name: str, column: str, wants: str, reason: str, least: float | None, most: float | None) -> Rule:
    limits = {"min_value": least, "max_value": most}
    return Rule(name, wants, reason, "ExpectColumnValuesToBeBetween", {"column": column, **limits})


def _among(name: str, column: str, wants: str, reason: str, values: tuple[Any, ...]) -> Rule:
    return Rule(name, wants, reason, "ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(values)})


def passage_rules(settings: ValidateSettings) -> list[Rule]:
    """The suite ``passages``, on the columns of `checks.passage_columns`."""
    window, share = settings.max_tokens, settings.passage_letters
    return [
        _between("id", "id_repeats", "every id once", "id already used by an earlier passage", None, 0),
        _between("emptiness", "words", "at least 3 words after normalisation", "empty or nearly empty", 3, None),
        _between("length", "tokens", f"1 to {window} wordpieces", f"over the window of {window} wordpieces", 1, window),
        _between("duplicates", "text_repeats", "every text once", "same text as an earlier passage", None, 0),
        _between("language", "letters", f"{share:.0%} ASCII letters or more", "not English or code", share, None),
        _between("encoding", "damage", "no mojibake", "damaged encoding", None, settings.mojibake - 1),
        _among("kind", "kind", "a known kind", "unknown kind", KINDS),
        _among("split", "split", "a known split", "unknown split", SPLITS),
        _among("path", "has_path", "a path", "no path", (True,)),
    ]


def question_rules(settings: ValidateSettings) -> list[Rule]:
    """The suite ``questions``, on the columns of `checks.question_columns`."""
    (least, most), share = settings.question_words, settings.question_letters
    return [
        _between("id", "id_repeats", "every id once", "id already used by an earlier question", None, 0),
        _between(
            "length", "words", f"{least} to {most} words after normalisation", "too short or too long", least, most
        ),
        _between("duplicates", "question_repeats", "every question once", "same as an earlier question", None, 0),
        _between("leak", "splits", "a question in one split only", "stands in more than one split", 1, 1),
        _among("gold", "gold_found", "its passage exists", "no clean passage answers it", (True,)),
        _among("answer", "answer_found", "the answer stands in its passage", "answer not in its passage", (True,)),
        _between("language", "letters", f"{share:.0%} ASCII letters or more", "not English", share, None),
        _among("english", "english", "a common English word", "no common English word", (True,)),
        _between("encoding", "damage", "no mojibake", "damaged encoding", None, settings.mojibake - 1),
        _among("category", "category", "a known category", "unknown category", CATEGORIES),
        _among("split", "split", "a known split", "unknown split", (*SPLITS, "persona")),
    ]


def balance_rules(settings: ValidateSettings) -> list[Rule]:
    """The suite ``balance``, on the rows of `checks.balance`."""
    most, least = settings.max_category_share, settings.min_categories
    return [
        _between("balance", "share", f"no category above {most:.0%}", f"category above {most:.0%}", None, most),
        Rule(
            "variety",
            f"at least {least} categories",
            "too few categories",
            "ExpectTableRowCountToBeBetween",
            {"min_value": least, "max_value": None},
        ),
    ]


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
