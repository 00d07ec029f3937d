"""The learner of a Whisper."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from components.tasks.transcription.learning.augment import change_speed, mask, place
from components.tasks.transcription.learning.data import Speech, mixed, speech
from components.tasks.transcription.learning.errors import word_errors
from components.tasks.transcription.speech import TorchWhisper
from components.tasks.transcription.utterances import read_tables
from components.tasks.transcription.words import unit_of
from components.train.learner import World, use_bf16
from components.train.settings import Hyperparameters, TrainSettings
from serving.transcription.mel import HOP, log_mel

IGNORED = -100
KEPT = 512
"""Features that are kept: 64 MB of utterances of 4 s."""


class Settings(TrainSettings):
    """What fine-tuning a Whisper adds.

    An utterance is learned in a window that ends ``margin`` seconds of silence behind it: whole ones, of 30 s, cost six
    times as much, and what was learned on short ones holds in whole ones. Whatever decodes hears whole windows, for in
    short ones Whisper says short strings of digits over and over.

    ``language`` spoken (Whisper's code); ``normaliser`` of the words that validation compares ("": the language's own);
    ``speeds`` that an utterance may be played at; ``pause`` seconds at most before it; SpecAugment's ``bands`` of up to
    ``band`` mels and ``gaps`` of up to ``gap`` frames; ``smoothing`` of labels; ``rehearsal``: least share of the
    training rows of condition ``known`` where there are any; ``eval_utterances`` at most (0: all), in batches of
    ``eval_batch``.
    """

    epochs: float = Field(20.0, gt=0)
    max_steps: int = Field(60, ge=0)
    language: str = "en"
    normaliser: str = ""
    speeds: tuple[float, ...] = (0.9, 1.0, 1.1)
    pause: float = Field(0.4, ge=0)
    margin: float = Field(1.0, ge=0, le=30)
    bands: int = Field(2, ge=0)
    band: int = Field(12, ge=0)
    gaps: int = Field(2, ge=0)
    gap: int = Field(20, ge=0)
    smoothing: float = Field(0.0, ge=0, lt=1)
    rehearsal: float = Field(0.3, ge=0, lt=1)
    eval_utterances: int = Field(0, ge=0)
    eval_batch: int = Field(16, ge=1)


STUDY: dict[str, Any] = {
    "trial_rows": 160,
    "rungs": 2,
    "start": {"rank": 16, "learning_rate": 1e-3, "batch": 8, "target_modules": "all"},
    "space": {"rank": (8, 16, 32), "learning_rate": (2e-4, 2e-3), "batch": (8, 16), "accumulation": (1,)},
    "train": {"epochs": 20, "eval_utterances": 16},
}


class Data(NamedTuple):
    """Training rows, and validation rows with the protocol that completes their figures' names."""

    train: Speech
    val: Speech
    protocol: str


def read(base: Path | str, audio: Path | str, utterances: Path | str, settings: Settings) -> Data:
    """Read audio.parquet and utterances.parquet; a fixed sample of the validation split where it is to be smaller."""
    table, whisper = read_tables(audio, utterances), TorchWhisper(base, settings.language)
    held, most = speech(table, "val", whisper), settings.eval_utterances
    if not most or len(held) <= most:
        return Data(speech(table, "train", whisper), held, "val")
    chosen = mixed(held.conditions, most, np.random.default_rng(settings.seed))[0]
    return Data(speech(table, "train", whisper), held.take(sorted(chosen)), f"of{most}_val")


def learner(base: Path | str, data: Data, hyper: Hyperparameters, settings: Settings) -> "SpeechLearner":
    """A fresh Whisper from the directory ``base``, ready to learn from ``data``."""
    return SpeechLearner(TorchWhisper(base, settings.language), data, hyper, settings)


class SpeechLearner:
    """A Whisper that learns to say what was said (see `components.train.learner.Learner`)."""

    about = "LoRA on a Whisper: cross-entropy of the next token, under speed perturbation and SpecAugment."
    head = None
    adapter = True

    def __init__(self, whisper: TorchWhisper, data: Data, hyper: Hyperparameters, settings: Settings) -> None:
        self.whisper, self.data, self.hyper, self.settings = whisper, data, hyper, settings
        self._counted_in = settings.normaliser or settings.language
        self.spec, self.metric = whisper.spec, f"{unit_of(self._counted_in)}_accuracy_{data.protocol}"
        self.autocast = whisper.autocast = use_bf16(hyper.precision)
        self._sound = lru_cache(KEPT)(self._features)

    @property
    def model(self) -> Any:
        """The Whisper's module."""
        return self.whisper.model

    @model.setter
    def model(self, module: Any) -> None:
        self.whisper.model = module

    def batches(self, epoch: int) -> list[list[int]]:
        """Batches of utterances, every condition in each."""
        s = self.settings
        rng = np.random.default_rng([s.seed, epoch])
        return mixed(self.data.train.conditions, self.hyper.batch, rng, share=s.rehearsal)

    def loss(self, rows: list[int], rng: np.random.Generator, world: World) -> torch.Tensor:
        """Cross-entropy per token over the whole batch; each rank adds the part of its own rows."""
        seeds = rng.integers(2**32, size=len(rows)).tolist()  # by row, so that any number of ranks hears the same
        tokens, labels = self._tokens(rows)
        asked = int((labels != IGNORED).sum())
        mine = world.share(range(len(rows)))[world.rank]
        if not mine:
            return torch.zeros(())
        heard = _stacked([self._heard(rows[at], np.random.default_rng(seeds[at])) for at in mine])
        logits = self.whisper.logits(torch.from_numpy(heard), tokens[mine])
        total = cross_entropy(
            logits.flatten(0, 1),
            labels[mine].flatten().to(logits.device),
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.settings.smoothing,
        )
        return total / asked

    def _heard(self, row: int, rng: np.random.Generator) -> np.ndarray:
        """Features [mels, frames] of a training row as they sound this time."""
        s, said = self.settings, self.whisper.speech
        fitting = [speed for speed in s.speeds if len(self.data.train.samples[row]) / speed <= said.frames * HOP]
        sound = self._sound(row, fitting[rng.integers(len(fitting))] if fitting else 1.0)
        heard = sound.shape[1]
        before = int(rng.integers(0, min(int(s.pause * said.sample_rate / HOP), said.frames - heard) + 1))
        window = place(sound, before, min(said.frames, before + heard + int(s.margin * 100)))
        return mask(window, before + heard, s.bands, s.band, s.gaps, s.gap, rng)

    def _features(self, row: int, speed: float) -> np.ndarray:
        """Features [mels, heard] of a training row at a speed, without the silence behind it; kept, as they cost most
        of a small model's step.
        """
        wave = change_speed(self.data.train.wave(row), speed)
        said = self.whisper.speech
        return log_mel(wave, said.n_mels, min(said.frames, len(wave) // HOP + 2))

    def _tokens(self, rows: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Decoder inputs and the tokens that should follow them [n, t]; padding asks for nothing.

        A window without words teaches "no speech" in the place where Whisper looks for it: behind the start.
        """
        said, prefix = self.whisper.speech.tokens, self.whisper.prefix
        lines = [[*prefix, *self.data.train.ids[row], said.eot] for row in rows]
        longest = max(map(len, lines)) - 1
        tokens = torch.full((len(rows), longest), said.eot, dtype=torch.int64)
        labels = torch.full((len(rows), longest), IGNORED, dtype=torch.int64)
        for at, line in enumerate(lines):
            tokens[at, : len(line) - 1] = torch.tensor(line[:-1])
            labels[at, : len(line) - 1] = torch.tensor(line[1:])
            if len(line) == len(prefix) + 1 and said.no_speech is not None:
                labels[at, 0] = said.no_speech
        return tokens, labels

    def measure(self) -> dict[str, float]:
        """Word errors of greedy decoding on the validation rows, all together and by condition; all in 0 and up.

        ``word_accuracy`` is 1 - ``wer``. Both count edits over the words of the whole split, normalised as Whisper's
        authors do; by characters, and named so, where the language has no blanks.
        """
        self.model.eval()
        said: list[str] = []
        held, size = self.data.val, self.settings.eval_batch
        for at in range(0, len(held), size):
            rows = range(at, min(at + size, len(held)))
            longest = 8 + 2 * max(len(held.ids[row]) for row in rows)
            features = self.whisper.features([held.wave(row) for row in rows])
            said += [self.whisper.text(ids) for ids in self.whisper.greedy(features, longest)]
        return word_errors(held.texts, said, held.conditions, self._counted_in, self.data.protocol)

    def sizes(self) -> dict[str, float]:
        """Number and seconds of training utterances."""
        seconds = sum(map(len, self.data.train.samples)) / self.whisper.speech.sample_rate
        return {"training_utterances": len(self.data.train), "training_seconds": seconds}

    def save(self, directory: Path) -> None:
        """Nothing: the adapter is all that was learned."""


def _stacked(windows: list[np.ndarray]) -> np.ndarray:
    """Windows [mels, frames] as one batch [n, mels, most frames]; silence, each one's lowest value, fills them up."""
    most = max(window.shape[1] for window in windows)
    return np.stack([place(window, 0, most) for window in windows])
