"""A step's table out of the parquet file that an earlier step wrote."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from serving.contract.errors import SluiceError


def read_table(path: Path | str, columns: Sequence[str], makers: str, room: str) -> pd.DataFrame:
    """The whole table at ``path``, which has at least ``columns``.

    Raises `SluiceError` that names a missing file, with ``makers`` to run first, or a missing column, with the ``room``
    of components that says what belongs there.
    """
    place = Path(path)
    if not place.is_file():
        raise SluiceError(f"{place}: no such file; run {makers} first")
    table = pd.read_parquet(place)
    if missing := [name for name in columns if name not in table]:
        raise SluiceError(f"{place}: no column '{missing[0]}'; expected {', '.join(columns)} (see components/{room})")
    return table
