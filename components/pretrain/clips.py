"""The pool of training clips: lines read by many voices once, kept in shards, so that training can stop and go on."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.pretrain import voices
from components.pretrain.text import sentences
from serving.contract.files import atomic_file

Floats = npt.NDArray[np.float32]
SECONDS = 5.8
"""The longest clip that still fits the six-second window with a little silence around it."""


@dataclass(frozen=True)
class Shard:
    """A part of the pool: ``count`` lines of ``shortest`` to ``longest`` words, drawn and read with ``seed``."""

    name: str
    count: int
    longest: int
    seed: int
    shortest: int = 1


@dataclass(frozen=True)
class Clip:
    """One utterance: samples float32 [n] at 16 kHz and its plain words."""

    samples: Floats
    text: str


def make_shard(shard: Shard, folder: Path) -> Path:
    """Read the lines of ``shard`` into ``folder/<name>.npz`` (int16 samples, ends, texts); an existing file is kept.

    Raises `SluiceError` when espeak-ng is missing. About 15 ms a line on one core.
    """
    path = folder / f"{shard.name}.npz"
    if path.is_file():
        return path
    rng = random.Random(shard.seed)
    texts, parts = [], []
    for line in sentences(shard.count, shard.seed, shard.shortest, shard.longest):
        samples = voices.read(line, voices.random_voice(rng, voices.HEARD))
        if len(samples) <= SECONDS * voices.RATE:
            texts.append(line)
            parts.append((np.clip(samples, -1, 1) * 32767).astype(np.int16))
    ends = np.cumsum([len(part) for part in parts])
    with atomic_file(path) as scratch, scratch.open("wb") as stream:
        np.savez(
            stream, samples=np.concatenate(parts), ends=ends, texts=np.frombuffer(json.dumps(texts).encode(), np.uint8)
        )
    return path


class Pool:
    """Clips of every shard that is ready; more are found as they are finished."""

    def __init__(self, folder: Path, shards: list[Shard]) -> None:
        """``folder`` holds, or will hold, the files of ``shards``."""
        self._folder, self._waiting = folder, list(shards)
        self._samples: list[npt.NDArray[np.int16]] = []
        self._index: list[tuple[int, int, int, str]] = []

    def refresh(self) -> int:
        """Load the shards that have been finished since; returns how many clips there are now."""
        for shard in list(self._waiting):
            path = self._folder / f"{shard.name}.npz"
            if not path.is_file():
                continue
            with np.load(path) as data:
                ends, texts = data["ends"].tolist(), json.loads(data["texts"].tobytes())
                at = len(self._samples)
                self._samples.append(data["samples"])
            self._index += [(at, start, end, text) for start, end, text in zip([0, *ends], ends, texts, strict=False)]
            self._waiting.remove(shard)
        return len(self._index)

    def clip(self, rng: random.Random, seconds: float) -> Clip:
        """A random clip of at most ``seconds``; the shortest that a few draws found when none is that short."""
        drawn = [rng.choice(self._index) for _ in range(8)]
        at, start, end, text = next(
            (d for d in drawn if d[2] - d[1] <= seconds * voices.RATE), min(drawn, key=lambda d: d[2] - d[1])
        )
        return Clip(self._samples[at][start:end].astype(np.float32) / np.float32(32768), text)

    def texts(self) -> Iterator[str]:
        """The words of every clip."""
        return (text for *_, text in self._index)


def make_shards(shards: list[Shard], folder: Path) -> None:
    """`make_shard` one after the other: the body of the process that works beside training."""
    for shard in shards:
        make_shard(shard, folder)
