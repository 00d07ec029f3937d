"""Word errors of a validation split."""

from collections.abc import Sequence


def word_errors(
    references: Sequence[str], said: Sequence[str], conditions: Sequence[str], language: str, protocol: str
) -> dict[str, float]:
    """``word_accuracy_<protocol>``, ``wer_<protocol>`` and, where there are several, ``wer_<protocol>_<condition>``.

    Edits over reference words, summed before they are divided. Where the language has no blanks between words:
    ``character_accuracy_…`` and ``cer_…`` (see `components.tasks.transcription.words.unit_of`).
    """
    from components.tasks.transcription.words import errors, unit_of

    counted: dict[str, list[int]] = {}
    for reference, hypothesis, condition in zip(references, said, conditions, strict=True):
        edits, words = errors(reference, hypothesis, language)
        for group in ("", f"_{condition}"):
            total = counted.setdefault(group, [0, 0])
            total[0], total[1] = total[0] + edits, total[1] + words
    rates = {group: edits / max(1, words) for group, (edits, words) in counted.items()}
    if len(rates) == 2:
        rates = {"": rates[""]}
    unit = unit_of(language)
    return {
        f"{unit}_accuracy_{protocol}": 1 - rates[""],
        **{f"{unit[0]}er_{protocol}{group}": rate for group, rate in sorted(rates.items())},
    }
