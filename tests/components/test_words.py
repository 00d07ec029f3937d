import math

import pytest

from components.tasks.transcription.learning.errors import word_errors
from components.tasks.transcription.words import Edits, cer, edits, errors, normalise, unit_of, wer


def test_texts_are_compared_without_case_punctuation_fillers_spelling_and_the_form_of_numbers():
    assert normalise("Um, the COLOUR is twenty-five, isn't it?") == normalise("the color is 25 is not it")
    assert normalise("Größe: fünf!", "de") == "größe fünf"


def test_edits_are_the_fewest_and_told_apart():
    assert edits("a boat lies out there on the open sea", "a goat lies out there on the sea") == Edits(9, 1, 1, 0)
    assert edits("a boat", "look a boat") == Edits(2, 0, 0, 1)
    assert errors("the sea at seven", "The sea, at 7!") == (0, 4)


def test_digits_spoken_one_by_one_stay_apart_in_the_basic_form():
    assert errors("one two three", "one two four") == (1, 1)
    assert errors("one two three", "one two four", "basic") == (1, 3)


def test_a_corpus_is_rated_by_all_its_words_not_by_the_mean_of_its_sentences():
    assert wer(["yes", "the tide comes in at night"], ["no", "the tide comes in at night"]) == pytest.approx(1 / 7)
    assert cer(["abc", "de"], ["abd", "de"]) == pytest.approx(1 / 5)


@pytest.mark.parametrize("language", ["zh", "zh-TW", "ja", "th", "km"])
def test_languages_without_blanks_are_rated_by_characters_and_named_so(language: str) -> None:
    assert wer(["今天我们讲树"], ["今天，我们讲 数。"], language) == pytest.approx(1 / 6)
    assert cer(["今天我们讲树"], ["今天，我们讲 数。"], language) == pytest.approx(1 / 6)
    assert unit_of(language) == "character" and unit_of("ko") == unit_of("en") == unit_of("basic") == "word"
    metrics = word_errors(["今天", "树"], ["今天", "数"], ["a", "b"], language, "val")
    expected = {"character_accuracy_val": 2 / 3, "cer_val": 1 / 3, "cer_val_a": 0.0, "cer_val_b": 1.0}
    assert metrics == pytest.approx(expected)


def test_marks_of_a_script_are_part_of_its_words() -> None:
    assert edits("यह पेड़ है", "यह पेड़ है।", "hi") == Edits(3, 0, 0, 0)
    assert wer(["ไม่เป็นไร"], ["ไมเป็นไร"], "th") == pytest.approx(1 / 7)  # a tone mark is no sign of its own


def test_speech_where_nothing_was_said_counts_as_insertions():
    assert edits("", "thank you") == Edits(0, 0, 0, 2)
    assert wer(["hello there", ""], ["hello there", "thank you"]) == 1.0
    assert math.isnan(wer([""], [""]))
