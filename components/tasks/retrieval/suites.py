"""The suites of passages, segments of lectures, and questions."""

from components.validate.settings import ValidateSettings
from components.validate.suites import SPLITS, Rule, among, between

KINDS = ("function", "class", "method", "section", "commit", "issue", "segment")
CATEGORIES = ("what", "why", "how", "parameters", "changed")


def passage_rules(settings: ValidateSettings) -> list[Rule]:
    """The suite ``passages``, on the columns of `checks.passage_columns`."""
    window, share = settings.max_tokens, settings.passage_letters
    return [
        between("id", "id_repeats", "every id once", "id already used by an earlier passage", None, 0),
        between("emptiness", "words", "at least 3 words after normalisation", "empty or nearly empty", 3, None),
        between("length", "tokens", f"1 to {window} wordpieces", f"over the window of {window} wordpieces", 1, window),
        between("duplicates", "text_repeats", "every text once", "same text as an earlier passage", None, 0),
        between("language", "letters", f"{share:.0%} ASCII letters or more", "not English or code", share, None),
        between("encoding", "damage", "no mojibake", "damaged encoding", None, settings.mojibake - 1),
        among("kind", "kind", "a known kind", "unknown kind", KINDS),
        among("split", "split", "a known split", "unknown split", SPLITS),
        among("path", "has_path", "a path", "no path", (True,)),
    ]


def question_rules(settings: ValidateSettings) -> list[Rule]:
    """The suite ``questions``, on the columns of `checks.question_columns`."""
    (least, most), share = settings.question_words, settings.question_letters
    return [
        between("id", "id_repeats", "every id once", "id already used by an earlier question", None, 0),
        between(
            "length", "words", f"{least} to {most} words after normalisation", "too short or too long", least, most
        ),
        between("duplicates", "question_repeats", "every question once", "same as an earlier question", None, 0),
        between("leak", "splits", "a question in one split only", "stands in more than one split", 1, 1),
        among("gold", "gold_found", "its passage exists", "no clean passage answers it", (True,)),
        among("answer", "answer_found", "the answer stands in its passage", "answer not in its passage", (True,)),
        between("language", "letters", f"{share:.0%} ASCII letters or more", "not English", share, None),
        among("english", "english", "a common English word", "no common English word", (True,)),
        between("encoding", "damage", "no mojibake", "damaged encoding", None, settings.mojibake - 1),
        among("category", "category", "a known category", "unknown category", CATEGORIES),
        among("split", "split", "a known split", "unknown split", (*SPLITS, "persona", "calibration")),
    ]


def balance_rules(settings: ValidateSettings) -> list[Rule]:
    """The suite ``balance``, on the rows of `checks.balance`."""
    most, least = settings.max_category_share, settings.min_categories
    return [
        between(
            "balance",
            "share",
            f"no category above {most:.0%}",
            f"questions have a category above {most:.0%}",
            None,
            most,
        ),
        Rule(
            "variety",
            f"at least {least} categories",
            "too few categories",
            "ExpectTableRowCountToBeBetween",
            {"min_value": least, "max_value": None},
        ),
    ]


def segment_rules(settings: ValidateSettings) -> list[Rule]:
    """The suite ``segments``, on the columns of `checks.segment_columns`."""
    slow, fast = settings.speech_rate
    return [
        between("begin", "start_s", "begins at 0 s or later", "begins before its recording", 0, None),
        between("length", "seconds", "ends after it begins", "ends before it begins", 0.01, None),
        between("end", "over_s", "ends with its recording", "ends after its recording", None, 1.0),
        between("order", "overlap_s", "after the segment before it", "overlaps the segment before it", None, 0.5),
        between(
            "rate", "speech_rate", f"{slow:g} to {fast:g} words a minute", "nobody speaks at this rate", slow, fast
        ),
        between("confidence", "confidence", "0 to 1", "confidence is no share", 0, 1),
        between("silence", "silence_share", "0 to 1", "silence is no share", 0, 1),
    ]
