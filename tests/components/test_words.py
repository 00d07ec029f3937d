import math

import pytest

from components.evaluate.words import Edits, cer, edits, errors, normalise, wer


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


def test_speech_where_nothing_was_said_counts_as_insertions():
    assert edits("", "thank you") == Edits(0, 0, 0, 2)
    assert wer(["hello there", ""], ["hello there", "thank you"]) == 1.0
    assert math.isnan(wer([""], [""]))
