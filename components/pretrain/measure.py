"""What the model gets wrong: word error rates on voices and sentences that training did not see."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from components.pretrain import voices
from components.pretrain.clips import SECONDS, Clip
from components.pretrain.digits import KEPT_BACK, SPEAKERS, TEST_NUMBERS, digit_strings
from components.pretrain.model import Learner
from components.pretrain.text import lectures, plain, sentences
from components.recordings.cues import read_cues
from serving.transcription.mel import Floats, log_mel_batch

SEED = 77
SAMPLES = Path(__file__).parents[1] / "recordings" / "samples"
Sets = dict[str, list[Clip]]


@dataclass(frozen=True)
class Errors:
    """Word errors of one condition: ``wer`` (0-1), over ``utterances`` with ``words`` words in their references."""

    wer: float
    utterances: int
    words: int


def test_sets(digits: Path | None, count: int, taken: frozenset[str]) -> Sets:
    """The conditions, ``count`` utterances each, always the same ones.

    ``heard``: new sentences of the grammar (none in ``taken``) by heard voices; ``lectures-heard``, ``lectures-new``:
    sentences of our lectures by heard voices and by voices kept back; with ``digits`` also ``fsdd-heard`` and
    ``fsdd-theo``: strings of 1 to 5 digits from FSDD's test recordings (0-4).
    """
    rng = random.Random(SEED)
    lines = [line for line in sentences(2 * count + 200, SEED, 3) if line not in taken][:count]
    spoken = [plain(line) for lecture in lectures() for line in lecture["sentences"]]
    made = {
        "heard": [_read(line, voices.HEARD, rng) for line in lines],
        "lectures-heard": [_read(line, voices.HEARD, rng) for line in rng.sample(spoken, min(count, len(spoken)))],
        "lectures-new": [_read(line, voices.HELD_OUT, rng) for line in rng.sample(spoken, min(count, len(spoken)))],
    }
    if digits:
        for name, speakers in {"fsdd-heard": SPEAKERS, "fsdd-theo": (KEPT_BACK,)}.items():
            strings = digit_strings(digits, speakers, TEST_NUMBERS, count, SEED)
            made[name] = [Clip(samples, text) for samples, text, _ in strings]
    return made


def _read(line: str, variants: Sequence[str], rng: random.Random) -> Clip:
    """``line`` by a random voice, faster when it would not fit into the window."""
    voice = voices.random_voice(rng, variants)
    samples = voices.read(line, voice)
    while len(samples) > SECONDS * voices.RATE:
        voice = voices.Voice(voice.accent, voice.variant, voice.speed + 15, voice.pitch)
        samples = voices.read(line, voice)
    return Clip(samples, line)


def word_errors(learner: Learner, clips: list[Clip], chunk: int = 50) -> Errors:
    """WER of the greedy transcripts of ``clips``, 0.2 s of silence in front; jiwer's, over all words together."""
    import jiwer

    heard: list[str] = []
    learner.eval()
    lead = np.zeros(voices.RATE // 5, np.float32)
    for at in range(0, len(clips), chunk):
        part = [np.concatenate([lead, clip.samples]) for clip in clips[at : at + chunk]]
        heard += learner.transcribe(log_mel_batch(part, frames=600))
    texts = [clip.text for clip in clips]
    return Errors(float(jiwer.wer(texts, heard)), len(clips), sum(len(text.split()) for text in texts))


def sample_errors(learner: Learner, folder: Path) -> dict[str, Errors]:
    """WER on our sample recordings, cut at their references' cues: one entry a condition of the test split.

    ``samples-clean``, ``-noise``, ``-video`` (voices kept back) and ``-known``; empty without a samples.yaml.
    """
    clips: Sets = {}
    for entry, parts in samples(folder):
        if entry["split"] == "test":
            clips.setdefault(f"samples-{entry['condition']}", []).extend(parts)
    return {name: word_errors(learner, parts) for name, parts in clips.items()}


def samples(folder: Path) -> Iterator[tuple[dict[str, Any], list[Clip]]]:
    """Each entry of ``folder/samples.yaml`` with its sentences, cut 50 ms around the cues of its .vtt."""
    listing = folder / "samples.yaml"
    for entry in yaml.safe_load(listing.read_text(encoding="utf-8")) if listing.is_file() else []:
        heard = _decoded(folder / entry["file"])
        cues = read_cues((folder / entry["id"]).with_suffix(".vtt").read_text(encoding="utf-8"), entry["id"])
        edge = voices.RATE // 20
        yield (
            entry,
            [
                Clip(
                    heard[max(0, int(cue.start * voices.RATE) - edge) : int(cue.end * voices.RATE) + edge],
                    plain(cue.text),
                )
                for cue in cues
            ],
        )


def _decoded(path: Path) -> Floats:
    """All of a recording's sound, float32 [n], mono, 16 kHz."""
    import av

    resampler = av.AudioResampler(format="flt", layout="mono", rate=voices.RATE)
    with av.open(str(path)) as container:
        frames = [piece for frame in container.decode(audio=0) for piece in resampler.resample(frame)]
    frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])
