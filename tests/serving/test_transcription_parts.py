import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from tiny_whisper import GENERAL, make_general_whisper

from serving.contract.bundle import SpeechSpec
from serving.contract.errors import SluiceError
from serving.transcription.decode import Said
from serving.transcription.formats import stamp, verbose, write
from serving.transcription.rules import Rules, compression, loop
from serving.transcription.segments import segments_of, timed
from serving.transcription.spec import read_speech
from serving.transcription.vocabulary import Vocabulary
from serving.transcription.words import median, token_times, warp


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    model = make_general_whisper(tmp_path_factory.mktemp("general"))
    return Vocabulary(model / "tokenizer.json", read_speech(model))


class Place(NamedTuple):
    start: float
    seconds: float
    heard: tuple[float, float]


def allowed(vocabulary: Vocabulary, said: list[int], logits: np.ndarray | None = None) -> set[int]:
    row = np.zeros((1, vocabulary.speech.vocab), np.float32) if logits is None else logits[None].copy()
    Rules(vocabulary.speech, vocabulary.special).apply(row, [said], [[]])
    return set(np.flatnonzero(np.isfinite(row[0])).tolist())


def test_reads_a_general_model_by_its_names(general: Vocabulary) -> None:
    speech: SpeechSpec = general.speech
    assert (speech.window_s, speech.multilingual, speech.languages) == (30.0, True, ["en", "de", "fr"])
    assert speech.tokens.timestamp_begin == 256 + len(GENERAL)
    assert general.prefix("de") == [speech.tokens.sot, 259, speech.tokens.transcribe]
    assert general.prompt("Hello", ["Kafka"])[0] == speech.tokens.sot_prev
    assert general.text(general.prompt("Hello", ["Kafka"])) == " Kafka Hello"


def test_an_english_only_model_gets_neither_language_nor_task(tmp_path: Path) -> None:
    model = make_general_whisper(tmp_path / "model")
    generation = json.loads((model / "generation_config.json").read_text())
    del generation["lang_to_id"]
    (model / "generation_config.json").write_text(json.dumps({**generation, "is_multilingual": False}))
    speech = read_speech(model)
    assert (speech.multilingual, speech.languages) == (False, [])
    assert Vocabulary(model / "tokenizer.json", speech).prefix("en") == [speech.tokens.sot]
    (model / "tokenizer.json").unlink()
    with pytest.raises(SluiceError, match="no tokenizer.json"):
        read_speech(model)


def test_timestamps_come_first_in_pairs_and_never_go_back(general: Vocabulary) -> None:
    tokens = general.speech.tokens
    begin = tokens.timestamp_begin or 0
    assert allowed(general, []) == set(range(begin, begin + 51))
    assert max(allowed(general, [begin])) < begin
    after_text = allowed(general, [begin, 40])
    assert begin not in after_text
    assert begin + 1 in after_text
    closed = allowed(general, [begin, 40, begin + 9])
    assert closed <= {tokens.eot, *range(begin + 9, general.speech.vocab)}
    assert begin + 9 in closed
    likely = np.zeros(general.speech.vocab, np.float32)
    likely[41] = 1.0  # likeliest alone, but less likely than all times together
    assert min(allowed(general, [begin, 40], likely)) >= begin
    likely[41] = 20.0
    assert 41 in allowed(general, [begin, 40], likely)


def test_hints_raise_their_first_token_and_the_next_of_one_that_began(general: Vocabulary) -> None:
    speech = general.speech.model_copy(
        update={"tokens": general.speech.tokens.model_copy(update={"timestamp_begin": None})}
    )
    row = np.zeros((1, speech.vocab), np.float32)
    Rules(speech, general.special).apply(row, [[7, 50]], [[[50, 51], [60]]])
    assert set(np.flatnonzero(row[0] > 0)) == {50, 51, 60}


@pytest.mark.parametrize(
    ("tokens", "extra"),
    [([1, 2, 3], 0), ([5] * 7, 0), ([9, *[5] * 8], 7), ([1, *[2, 3] * 3], 0), ([1, *[2, 3] * 5], 8), ([1, 2] * 4, 6)],
)
def test_tells_circles_from_repetition(tokens: list[int], extra: int) -> None:
    assert loop(tokens) == extra


def test_a_repeated_text_compresses_beyond_whispers_limit() -> None:
    assert compression("and so it goes " * 20) > 2.4 > compression("Bees carry pollen from one flower to the next.")


def test_the_cheapest_path_is_the_one_of_the_textbook() -> None:
    rng = np.random.default_rng(2)
    for n, m in ((1, 5), (4, 1), (6, 9), (12, 7)):
        cost = rng.normal(size=(n, m)).astype(np.float32)
        total = np.full((n + 1, m + 1), np.inf)
        total[0, 0] = 0
        for i in range(n):
            for j in range(m):
                total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
        rows, columns = warp(cost)
        assert cost[rows, columns].sum() == pytest.approx(total[n, m], abs=1e-4)
        steps = {(int(a), int(b)) for a, b in zip(np.diff(rows), np.diff(columns), strict=True)}
        assert steps <= {(0, 1), (1, 0), (1, 1)}


def test_median_of_seven() -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 20)).astype(np.float32)
    wanted = np.median(np.lib.stride_tricks.sliding_window_view(values, 7, axis=2), axis=3)
    assert np.array_equal(median(values)[..., 3:-3], wanted.astype(np.float32))


def test_words_get_the_times_that_attention_shows(general: Vocabulary) -> None:
    """Three words of 1 s each, the second one of two tokens, then the end."""
    text = " so ab it"
    tokens = general.ids(text)
    heard = np.interp(np.arange(len(tokens) + 1), [0, 3, 6, 9], [0, 50, 100, 150])
    attention = np.full((2, len(tokens) + 1, 1500), 1e-4, np.float32)
    for row, place in enumerate(heard):
        attention[:, row, int(place) : int(place) + 17] = 1.0
    assert token_times(attention, 4.0)[[0, 3, 6]].tolist() == pytest.approx([0, 1, 2], abs=0.15)
    said = Said(tokens, [math.log(0.5)] * len(tokens), attention, text=text)
    found = segments_of(said, general, "en", Place(10.0, 4.0, (0.1, 3.4)), words=True)
    assert [word["word"] for word in found[0]["words"]] == ["so", "ab", "it"]
    assert [word["start"] for word in found[0]["words"]] == pytest.approx([10.1, 11, 12], abs=0.15)
    assert found[0]["words"][0]["start"] == 10.1
    assert found[0]["words"][-1]["end"] == 13.4
    assert found[0]["confidence"] == 0.5


def test_segments_end_with_sentences_and_timestamps_bound_them(general: Vocabulary) -> None:
    begin = general.speech.tokens.timestamp_begin or 0
    first, second = general.ids(" It is so."), general.ids(" Is it so?")
    tokens = [begin, *first, *second, begin + 100, begin + 150, *general.ids(" Yes"), begin + 200]
    assert [(a, b) for a, b, _ in timed(tokens, begin, 30.0)] == [(0.0, 2.0), (3.0, 4.0)]
    attention = np.full((2, len(tokens) + 1, 1500), 1e-4, np.float32)
    for row in range(len(tokens) + 1):
        attention[:, row, 5 * row : 5 * row + 8] = 1.0  # a token every tenth of a second
    found = segments_of(
        Said(tokens, [-0.1] * len(tokens), attention), general, "en", Place(0.0, 30.0, (0.0, 30.0)), words=True
    )
    assert [segment["text"] for segment in found] == ["It is so.", "Is it so?", "Yes"]
    assert found[1]["end"] == 2.0
    assert (found[2]["start"], found[2]["end"]) == (3.0, 4.0)


def test_letters_of_several_bytes_are_never_split(general: Vocabulary) -> None:
    tokens = general.ids(" Grüße, 世界")
    assert [word for word, _ in general.words(tokens, "de")] == ["Grüße,", "世界"]
    assert [word for word, _ in general.words(general.ids("世界。"), "zh")] == ["世", "界。"]


def test_formats_are_those_that_players_and_clients_read() -> None:
    word = {"word": "a", "start": 0.0, "end": 0.2, "confidence": 0.9}
    long = "A cue of more than forty-two letters is broken into lines."
    parts = [("Salt & <water>", 0.0, 1.5), (long, 3599.999, 3661.2)]
    segments = [
        {"id": at, "start": a, "end": b, "text": text, "confidence": 0.9, "no_speech": 0.1, "words": [word]}
        for at, (text, a, b) in enumerate(parts)
    ]
    result = {"text": "…", "language": "en", "duration": 3662.0, "damaged": False, "segments": segments}
    assert write(result, "srt").startswith(
        "1\n00:00:00,000 --> 00:00:01,500\nSalt & <water>\n\n2\n00:59:59,999 --> 01:01:01,200\n"
    )
    assert "Salt &amp; &lt;water&gt;" in write(result, "vtt")
    assert max(map(len, write(result, "vtt").splitlines())) <= 42
    assert write(result, "text").splitlines() == ["Salt & <water>", long]
    assert json.loads(write(result, "json")) == result
    assert [name in verbose(result, words=True) for name in ("words", "segments", "task")] == [True] * 3
    assert "words" not in verbose(result, words=False)
    assert stamp(0.9996, ",") == "00:00:01,000"
    with pytest.raises(SluiceError, match="expected one of text, srt"):
        write(result, "docx")
