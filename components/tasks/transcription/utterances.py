"""audio.parquet and utterances.parquet, read together."""

from pathlib import Path

import numpy as np
import pandas as pd

from components.common.tables import read_table
from serving.contract.errors import SluiceError

AUDIO_COLUMNS = ("utterance_id", "samples")
UTTERANCE_COLUMNS = ("utterance_id", "text", "condition", "split")


def read_tables(audio: Path | str, utterances: Path | str) -> pd.DataFrame:
    """Utterances with their samples (int16 arrays), in the order of utterances.parquet.

    Raises `SluiceError` that names a missing file or column, or an utterance without audio.
    """
    made = "the steps from recordings to utterances", "utterances"
    sounds, said = read_table(audio, AUDIO_COLUMNS, *made), read_table(utterances, UTTERANCE_COLUMNS, *made)
    heard = dict(zip(sounds.utterance_id, sounds.samples, strict=True))
    if silent := [one for one in said.utterance_id if one not in heard]:
        raise SluiceError(f"{audio}: no audio of utterance {silent[0]} ({len(silent)} such); run utterances again")
    samples = {one: np.frombuffer(heard[one], dtype="<i2") for one in said.utterance_id}
    return said.assign(samples=said.utterance_id.map(samples))
