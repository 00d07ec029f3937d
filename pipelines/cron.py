"""Cron expressions as Kubeflow Pipelines reads them: six fields, seconds first (github.com/robfig/cron, version 1)."""

import re

from serving.contract.errors import SluiceError

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, ("", *_MONTHS)),
    ("day of the week", 0, 6, _DAYS),
)
_PART = re.compile(r"(?:[*?]|(\w+)(?:-(\w+))?)(?:/(\d+))?")


def six_fields(cron: str) -> str:
    """A cron expression with its field of seconds: usual ones of five fields run at second 0.

    Raises:
        SluiceError: not five or six fields, or the first of them that KFP could not read, by name.
    """
    fields = cron.split()
    if len(fields) not in (5, 6):
        raise SluiceError(
            f'--cron "{cron}": expected five fields (minute, hour, day of the month, month, day of the week) or six, '
            'seconds first, such as "0 3 * * 1" for Mondays at 3:00 UTC'
        )
    fields = fields if len(fields) == 6 else ["0", *fields]
    for text, (name, low, high, words) in zip(fields, _FIELDS, strict=True):
        if not all(_holds(part, low, high, words) for part in text.split(",")):
            raise SluiceError(f'--cron "{cron}": {text!r} does not fit the {name} ({low} to {high})')
    return " ".join(fields)


def _holds(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    match = _PART.fullmatch(part)
    if match is None or match[3] == "0":
        return False
    ends = [words.index(end.lower()) if end.lower() in words else end for end in match.groups()[:2] if end]
    if not all(isinstance(end, int) or end.isdecimal() for end in ends):
        return False
    numbers = [int(end) for end in ends]
    return numbers == sorted(numbers) and all(low <= number <= high for number in numbers)
