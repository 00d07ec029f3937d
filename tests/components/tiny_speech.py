"""Audio of tones with references, and a whole bundle of a random Whisper, made by the real steps."""

from pathlib import Path

import numpy as np
import pandas as pd
from tiny_whisper import WORDS, make_tiny_whisper

MANY = (*WORDS, *(f"word{chr(97 + at // 26)}{chr(97 + at % 26)}" for at in range(400)))


def make_speech_tables(folder: Path, each: int = 4) -> tuple[Path, Path]:
    """audio.parquet and utterances.parquet of two speakers: tones, each with three words as its reference."""
    rng = np.random.default_rng(0)
    audio, utterances = [], []
    for split in ("train", "val", "test"):
        for at in range(each):
            seconds = 1.0 + at % 3
            time = np.arange(int(16000 * seconds)) / 16000
            sound = (8000 * np.sin(2 * np.pi * (200 + 100 * at) * time) * (time % 0.5 < 0.4)).astype("<i2")
            one = {"utterance_id": f"{split}-{at}", "recording_id": split}
            audio.append({**one, "start": 0.0, "end": seconds, "samples": sound.tobytes()})
            words = " ".join(rng.choice(WORDS[10:], 3))
            utterances.append(
                {**one, "text": f"{words.capitalize()}.", "speaker": ("Ada", "Ben")[at % 2], "split": split,
                 "condition": ("clean", "known")[at % 2], "seconds": np.float32(seconds)}
            )  # fmt: skip
    pd.DataFrame(audio).to_parquet(folder / "audio.parquet")
    pd.DataFrame(utterances).to_parquet(folder / "utterances.parquet")
    return folder / "audio.parquet", folder / "utterances.parquet"


def make_speech(folder: Path) -> Path:
    """``folder`` with base/, both tables, variants/, quantisation.{json,html}, and bundle/ of lectures-transcriber."""
    from components.pack.run import pack
    from components.quantize.run import quantize

    tables = make_speech_tables(folder)
    base = make_tiny_whisper(folder / "base", MANY)
    out = (folder / name for name in ("variants", "quantisation.json", "quantisation.html"))
    quantize(base, *tables, {"repeats": 3, "utterances": 3}, *out)
    pack(folder / "variants", *tables, {"system": "lectures-transcriber"}, folder / "bundle")
    return folder
