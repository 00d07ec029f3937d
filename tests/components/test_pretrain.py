import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy.io import wavfile

from components.pretrain import measure, plan, train, vocabulary, voices
from components.pretrain.augment import make_batch, with_labels
from components.pretrain.clips import Clip, Pool, Shard, make_shard
from components.pretrain.digits import SPEAKERS, TEST_NUMBERS, TRAIN_NUMBERS, digit_strings
from components.pretrain.text import HERE, lectures, plain, resembles_lecture, sentences
from components.pretrain.text import vocabulary as all_words
from serving.contract.errors import SluiceError

Recorded = list[tuple[dict[str, Any], list[Clip]]]
NANO = Path(voices.__file__).parents[1] / "base" / "whisper-nano"
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return list(measure.samples(measure.SAMPLES))


def test_training_reads_no_line_that_shares_five_words_in_a_row_with_a_lecture() -> None:
    lines = sentences(3000, seed=4)
    said = {line: plain(" ".join(lecture["sentences"])) for lecture in lectures() for line in [lecture["id"]]}
    runs = {" ".join(words[i : i + 5]) for words in map(str.split, said.values()) for i in range(len(words) - 4)}
    for line in lines:
        words = line.split()
        assert not any(" ".join(words[i : i + 5]) in runs for i in range(len(words) - 4)), line
    assert lines == sentences(3000, seed=4)
    assert all(resembles_lecture(plain(line)) for lecture in lectures() for line in lecture["sentences"])


def test_the_vocabulary_is_small_and_training_reads_nearly_all_of_it() -> None:
    heard = {word for line in sentences(6000, seed=1) for word in line.split()}
    assert len(all_words()) <= 420
    assert heard == set(all_words())


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(SluiceError, match="ask for fewer"):
        sentences(500, seed=1, longest=1)


def test_samples_keep_texts_of_training_and_test_apart_and_voices_together(recorded: Recorded) -> None:
    entries = recorded
    texts = {split: {e["title"] for e, _ in entries if e["split"] == split} for split in ("train", "val", "test")}
    assert not texts["train"] & texts["test"] and not texts["val"] & (texts["train"] | texts["test"])
    speakers = {split: {e["speaker"] for e, _ in entries if e["split"] == split} for split in ("train", "test")}
    assert {e["speaker"] for e, _ in entries} == speakers["train"] == speakers["test"]
    assert sum(len(clips) for e, clips in entries if e["split"] == "test") >= 90
    assert {e["condition"] for e, _ in entries} == {"clean", "noise", "video", "known"}


def test_every_sample_has_sound_under_each_cue_and_answers_where_it_says(recorded: Recorded) -> None:
    for entry, clips in recorded:
        assert all(0.3 < len(clip.samples) / 16000 < 5.7 for clip in clips)
        assert all(float(np.abs(clip.samples).max()) > 0.05 for clip in clips), entry["id"]
        cues = (measure.SAMPLES / f"{entry['id']}.vtt").read_text()
        for question in entry["questions"]:
            assert f"{int(question['start']) // 60:02d}:{question['start'] % 60:06.3f} -->" in cues
        assert len(entry["bullets"]) == 3
    assert sum(path.stat().st_size for path in measure.SAMPLES.iterdir()) < 4_000_000


def test_voices_of_the_samples_were_never_heard_but_for_the_known() -> None:
    listed = yaml.safe_load((HERE / "recordings.yaml").read_text())
    for entry in listed["recordings"]:
        heard = listed["speakers"][entry["speaker"]]["variant"] in voices.HEARD
        assert heard == (entry["condition"] == "known")
    assert not set(voices.HEARD) & set(voices.HELD_OUT)


def test_without_espeak_the_recipe_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(SluiceError, match="apt-get install espeak-ng"):
        voices.read("one", voices.Voice("en-us", "m1"))


def _digits(folder: Path, speakers: tuple[str, ...], numbers: range) -> None:
    tone = (np.sin(np.arange(2000) / 5) * 9000).astype(np.int16)
    for speaker in speakers:
        for digit in range(10):
            for number in numbers:
                wavfile.write(folder / f"{digit}_{speaker}_{number}.wav", 8000, tone)


def test_digit_strings_are_reproducible_and_of_one_speaker(tmp_path: Path) -> None:
    _digits(tmp_path, ("lucas", "theo"), TEST_NUMBERS)
    made = digit_strings(tmp_path, ("lucas", "theo"), TEST_NUMBERS, 20, seed=3)
    again = digit_strings(tmp_path, ("lucas", "theo"), TEST_NUMBERS, 20, seed=3)
    assert [(text, who) for _, text, who in made] == [(text, who) for _, text, who in again]
    assert {who for *_, who in made} == {"lucas", "theo"}
    for samples, text, _ in made:
        assert samples.dtype == np.float32 and len(samples) >= 0.2 * 16000 * len(text.split())
    assert "theo" not in SPEAKERS and not set(TEST_NUMBERS) & set(TRAIN_NUMBERS)
    with pytest.raises(SluiceError, match="7_george_0.wav"):
        digit_strings(tmp_path, ("george",), TEST_NUMBERS, 1, seed=1)


@needs_espeak
def test_labels_ask_for_words_after_the_prefix_and_for_no_speech_in_silence() -> None:
    features = np.zeros((2, 80, 600), np.float32)
    batch = with_labels(features, ["water moves", ""], random.Random(1), prompted=0.0)
    words = vocabulary.ids_of("water moves")
    assert batch.tokens[0].tolist() == [*vocabulary.PREFIX, *words]
    assert batch.labels[0].tolist() == [*vocabulary.PREFIX[1:], *words, vocabulary.END]
    assert batch.labels[1].tolist()[:4] == [vocabulary.NO_SPEECH, *vocabulary.PREFIX[2:], vocabulary.END]
    prompted = with_labels(features, ["water moves", "one"], random.Random(1), prompted=1.0)
    assert prompted.tokens[0, 0] == vocabulary.PREVIOUS
    assert prompted.labels[0, : prompted.tokens[0].tolist().index(vocabulary.START)].max() == vocabulary.IGNORED


@needs_espeak
def test_training_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = Shard("few", 6, 2, 1)
    make_shard(shard, tmp_path / "pool")
    monkeypatch.setattr(train, "PHASES", (plan.Phase("few", 3, 2, 2.0, 1.0, (shard,)),))
    said: list[str] = []
    first = train.Trainer(tmp_path, [], {}, 1.0, said.append)
    first.step = 2
    first.save()
    second = train.Trainer(tmp_path, [Clip(np.ones(9000, np.float32), "one")], {}, 1.0, said.append)
    steps: list[int] = []
    second.run(lambda step, total: steps.append(step))
    assert steps == [3] and "goes on from step 2" in said
    pool = Pool(tmp_path / "pool", [shard])
    assert pool.refresh() == len(list(pool.texts())) > 0
    assert make_batch(pool, [], 3, 2.0, random.Random(1), joined=0.5).features.shape == (3, 80, 200)


def test_the_committed_weights_load_in_transformers_and_hear_a_sample(recorded: Recorded) -> None:
    import jiwer
    import torch
    import transformers

    from serving.transcription.mel import log_mel_batch

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    assert (NANO / "model.safetensors").stat().st_size <= 4_000_000
    model = transformers.WhisperForConditionalGeneration.from_pretrained(str(NANO), dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(NANO))
    known = next(clips for entry, clips in recorded if entry["condition"] == "known")
    features = torch.from_numpy(log_mel_batch([clip.samples for clip in known], frames=600))
    prefix = torch.tensor([vocabulary.PREFIX] * len(known))
    states = model.model.encoder(features)
    for _ in range(20):
        logits = model(encoder_outputs=states, decoder_input_ids=prefix).logits[:, -1]
        prefix = torch.cat([prefix, logits.argmax(-1, keepdim=True)], 1)
    heard = [tokenizer.decode(row[4:].tolist()).split("<|endoftext|>")[0].strip() for row in prefix]
    assert jiwer.wer([clip.text for clip in known], heard) < 0.25
