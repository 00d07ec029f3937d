import base64
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tiny_whisper import make_general_whisper, make_speech_bundle
from tones import RATE, encode, record, sound

from serving.contract.errors import SluiceError
from serving.contract.load import load
from serving.media import NoMedia
from serving.transcription.decode import Decoder, Settings, Task
from serving.transcription.graphs import Graphs
from serving.transcription.mel import log_mel
from serving.transcription.rules import loop
from serving.transcription.transcriber import Transcriber

NOISE = np.random.default_rng(4).normal(0, 0.01, 9 * RATE).astype(np.float32)
TALK = sound((0.5, 0), (2, 0.4), (0.5, 0), (3, 0.4), (0.5, 0), (2, 0.3), (0.5, 0)) + NOISE


class Opened(NamedTuple):
    """A model directory, its bundle, and the bundle opened, with and without second tries at higher temperatures."""

    model: Path
    bundle: Path
    transcriber: Transcriber
    plain: Transcriber


def open_up(model: Path, bundle: Path) -> Opened:
    opened: Any = load(bundle, "fp32")
    once = Settings(temperatures=(0.0,))
    return Opened(model, bundle, opened, Transcriber(opened.bundle, opened._graphs, opened.vocabulary, once))


@pytest.fixture(scope="module")
def tiny(tiny_speech: Path) -> Opened:
    return open_up(tiny_speech / "base", tiny_speech / "bundle")


@pytest.fixture(scope="module")
def general(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    place = tmp_path_factory.mktemp("general")
    model = make_general_whisper(place / "model")
    return open_up(model, make_speech_bundle(model, place / "bundle"))


@pytest.fixture(params=["tiny", pytest.param("general", marks=pytest.mark.e2e)])
def either(request: pytest.FixtureRequest) -> Opened:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("sound") / "talk.wav", TALK)


def test_greedy_tokens_are_those_of_transformers(either: Opened) -> None:
    import torch
    from transformers import WhisperForConditionalGeneration

    transcriber, speech = either.transcriber, either.transcriber.speech
    model = WhisperForConditionalGeneration.from_pretrained(either.model).eval()
    clips = [TALK[: 3 * RATE], NOISE[: 2 * RATE], TALK[4 * RATE :]]
    mels = [log_mel(clip, speech.n_mels, speech.frames) for clip in clips]
    prefix = transcriber.vocabulary.prefix("en")
    tasks = [Task(prefix), Task(prefix, prompt=[3, 9, 12]), Task(prefix, prompt=[5])]
    forced = Decoder(transcriber._graphs, transcriber.vocabulary, Settings(temperatures=(0.0,), least=20))
    found = forced.decode(transcriber._graphs.encode(mels), tasks)
    for mel, task, said in zip(mels, tasks, found, strict=True):
        tokens = [*task.prompt, *task.prefix]
        begun = len(tokens)
        for _ in range(20):
            with torch.inference_mode():
                ids = torch.tensor([tokens])
                logits = model(input_features=torch.tensor(mel)[None], decoder_input_ids=ids).logits[0, -1].numpy()
            logits[speech.tokens.eot] = -np.inf
            tokens.append(int(logits.argmax()))
        assert said.tokens == tokens[begun:]
        assert said.alignment is not None
        assert said.alignment.shape == (2, 20, speech.frames // 2)


def test_a_result_does_not_depend_on_what_shares_its_batch(either: Opened, talk: Path) -> None:
    listener = either.plain
    alone = listener.predict([listener.parse({"audio": talk})])
    both = [listener.parse({"audio": talk.read_bytes()}), listener.parse({"audio": talk, "prompt": "moon river"})]
    assert listener.predict(both)[0]["text"] == alone[0]["text"] != ""


def test_segments_and_words_lie_in_order_within_their_windows(either: Opened, talk: Path) -> None:
    listener = either.plain
    instance = listener.parse({"audio": base64.b64encode(talk.read_bytes()).decode()})
    windows = list(listener.windows(instance))
    found = listener.transcribe(windows)
    for window, segments in zip(windows, found, strict=True):
        words = [word for segment in segments for word in segment["words"]]
        moments = [moment for word in words for moment in (word["start"], word["end"])]
        assert moments == sorted(moments)
        for entry in [*segments, *words]:
            assert window.start - 0.01 <= entry["start"] <= entry["end"] <= window.end + 0.01
            assert 0 <= entry["confidence"] <= 1
    result = listener.assemble(instance, [segment for segments in found for segment in segments])
    assert result["duration"] == pytest.approx(9, abs=0.1)
    assert [segment["id"] for segment in result["segments"]] == list(range(len(result["segments"])))


@pytest.mark.e2e
def test_detects_the_language_once_for_a_recording_unless_it_is_given(general: Opened, talk: Path) -> None:
    listener = general.plain
    given = listener.parse({"audio": talk, "language": "de", "word_timestamps": False})
    assert listener.predict([given])[0]["language"] == "de"
    assert listener.predict([listener.parse({"audio": talk})])[0]["language"] in ("en", "de", "fr")


def test_silence_gives_an_empty_transcript(tiny: Opened, tmp_path: Path) -> None:
    silent = record(tmp_path / "silent.flac", sound((4, 0)))
    result = tiny.transcriber.predict([tiny.transcriber.parse({"audio": silent})])[0]
    assert (result["text"], result["segments"], result["duration"]) == ("", [], 4.0)
    assert result["language"] == "en"


def test_what_is_sampled_can_be_repeated_and_runs_in_no_circles(tiny: Opened, talk: Path) -> None:
    opened = tiny.transcriber
    warmer = Transcriber(opened.bundle, opened._graphs, opened.vocabulary, Settings(temperatures=(1.0,)))
    first, again = (warmer.predict([warmer.parse({"audio": talk})])[0] for _ in range(2))
    assert first == again
    assert first["text"] != tiny.plain.predict([tiny.plain.parse({"audio": talk})])[0]["text"]
    assert not any(loop(segment["tokens"]) for segment in first["segments"])


def test_int8_stays_close_to_fp32(tiny: Opened) -> None:
    mel, speech = log_mel(TALK[: 3 * RATE], 80, 600), tiny.transcriber.speech
    made = []
    for variant in ("fp32", "int8"):
        graphs = Graphs(tiny.bundle / "speech" / variant, speech)
        memory = graphs.start(graphs.encode([mel]), np.zeros(1, np.int64))
        made.append(graphs.step(memory, np.array([[*tiny.transcriber.vocabulary.prefix("en"), 9, 11]]), range(6))[0])
    assert np.corrcoef(made[0].ravel(), made[1].ravel())[0, 1] > 0.99


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({}, "'audio' is missing"),
        ({"audio": "not base64!"}, "no base64"),
        ({"audio": "aGVsbG8=", "language": "Klingon"}, "'language' is 'Klingon'"),
        ({"audio": "aGVsbG8=", "language": "nl"}, "this model does not know; it knows en"),
        ({"audio": "aGVsbG8=", "speed": 2}, "unknown field 'speed'"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(tiny: Opened, payload: dict[str, Any], said: str) -> None:
    with pytest.raises(SluiceError, match=said):
        tiny.transcriber.parse(payload)


def test_what_is_no_recording_is_refused_when_it_is_read(tiny: Opened) -> None:
    instance = tiny.transcriber.parse({"audio": base64.b64encode(b"hello" * 100).decode()})
    with pytest.raises(NoMedia):
        tiny.transcriber.predict([instance])


def test_what_is_odd_about_a_recording_is_told_with_its_text(tiny: Opened) -> None:
    def notes(tracks: list[np.ndarray]) -> list[str]:
        data = encode("flac", [[(0, samples)] for samples in tracks], "matroska")
        instance = {"audio": base64.b64encode(data).decode()}
        found: list[str] = tiny.plain.predict([tiny.plain.parse(instance)])[0]["notes"]
        return found

    assert notes([TALK]) == []
    assert notes([0 * TALK, TALK]) == ["2 audio tracks, of which number 2 was read because number 1 is silent"]
