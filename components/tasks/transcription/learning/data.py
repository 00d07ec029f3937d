"""Windows of audio and what is said in them."""

import sys
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from components.tasks.transcription.speech import TorchWhisper
from serving.contract.errors import SluiceError

FULL_SCALE = 32768.0


@dataclass(frozen=True)
class Speech:
    """One split: 16 kHz mono windows (int16), their transcripts, token ids and conditions; one entry an utterance."""

    samples: list[npt.NDArray[np.int16]]
    texts: list[str]
    ids: list[list[int]]
    conditions: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def wave(self, row: int) -> npt.NDArray[np.float32]:
        """Samples of a row as float32 in -1..1."""
        return self.samples[row].astype(np.float32) / np.float32(FULL_SCALE)

    def take(self, rows: list[int]) -> "Speech":
        """The rows named, in that order."""
        columns = (self.samples, self.texts, self.ids, self.conditions)
        return Speech(*([column[row] for row in rows] for column in columns))  # type: ignore[arg-type]


def speech(table: pd.DataFrame, split: str, whisper: TorchWhisper) -> Speech:
    """The utterances of ``split`` that fit the model's window and decoder; `SluiceError` when none does.

    What is too long is left out with a line on stderr: a window that is cut would teach words that are not heard.
    """
    asked = table[table.split == split]
    ids = [whisper.ids(text) for text in asked.text]
    window, room = whisper.speech.frames * 160, whisper.speech.max_tokens - len(whisper.prefix) - 1
    fits = [len(s) <= window and len(i) <= room for s, i in zip(asked.samples, ids, strict=True)]
    if not any(fits):
        raise SluiceError(
            f"utterances: none of split '{split}' fits {whisper.speech.window_s:g} s and {room} tokens "
            f"(of {len(asked)}); cut shorter ones (components/utterances)"
        )
    if left_out := len(fits) - sum(fits):
        print(f"{left_out} of {len(fits)} {split} utterances are too long for the model, left out", file=sys.stderr)
    kept = asked[fits]
    return Speech(
        samples=list(kept.samples),
        texts=kept.text.tolist(),
        ids=[one for one, fit in zip(ids, fits, strict=True) if fit],
        conditions=kept.condition.tolist(),
    )


def mixed(
    conditions: list[str], batch: int, rng: np.random.Generator, rehearsed: str = "known", share: float = 0.0
) -> list[list[int]]:
    """Every row once, in batches in which every condition has about its share of the whole.

    Rows of condition ``rehearsed`` come again until they are ``share`` of all: what a model must not forget it has to
    keep hearing. Rehearsal is the oldest remedy for catastrophic forgetting (Robins 1995).
    """
    groups: dict[str, list[int]] = {}
    for row, condition in enumerate(conditions):
        groups.setdefault(condition, []).append(row)
    old = groups.get(rehearsed, [])
    wanted = round(share / (1 - share) * (len(conditions) - len(old))) if old and len(old) < len(conditions) else 0
    if wanted > len(old):
        groups[rehearsed] = old + rng.choice(old, wanted - len(old)).tolist()
    placed: list[tuple[float, int]] = []
    for condition in sorted(groups):
        rows = rng.permutation(groups[condition]).tolist()
        placed += [((at + rng.random()) / len(rows), row) for at, row in enumerate(rows)]
    order = [row for _, row in sorted(placed)]
    return [order[at : at + batch] for at in range(0, len(order), batch)]
