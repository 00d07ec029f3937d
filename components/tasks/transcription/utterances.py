"""audio.parquet and utterances.parquet, read together."""

from pathlib import Path

import numpy as np
import pandas as pd

from serving.contract.errors import SluiceError

AUDIO_COLUMNS = ("utterance_id", "samples")
UTTERANCE_COLUMNS = ("utterance_id", "text", "condition", "split")


def read_tables(audio: Path | str, utterances: Path | str) -> pd.DataFrame:
    """Utterances with their samples (int16 arrays), in the order of utterances.parquet.

    Raises `SluiceError` that names a missing file or column, or an utterance without audio.
    """
    tables = []
    for path, columns in ((Path(audio), AUDIO_COLUMNS), (Path(utterances), UTTERANCE_COLUMNS)):
        if not path.is_file():
            raise SluiceError(f"{path}: no such file; run the steps from recordings to utterances first")
        table = pd.read_parquet(path)
        if missing := [name for name in columns if name not in table]:
            raise SluiceError(
                f"{path}: no column '{missing[0]}'; expected {', '.join(columns)} (see components/utterances)"
            )
        tables.append(table)
    heard = dict(zip(tables[0].utterance_id, tables[0].samples, strict=True))
    said = tables[1]
    if silent := [one for one in said.utterance_id if one not in heard]:
        raise SluiceError(f"{audio}: no audio of utterance {silent[0]} ({len(silent)} such); run utterances again")
    samples = {one: np.frombuffer(heard[one], dtype="<i2") for one in said.utterance_id}
    return said.assign(samples=said.utterance_id.map(samples))
