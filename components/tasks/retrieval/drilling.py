"""A drill of a retriever: questions out of the bundle's own index, and an index that names the wrong files."""

from pathlib import Path
from typing import Any

from serving.contract.errors import SluiceError

INDEX = Path("index") / "passages.parquet"
SETTINGS: dict[str, Any] = {"slo": "drill", "window_s": 4}


def spoil(bundle: Path) -> None:
    """Make every source that ``bundle`` (a copy) names the wrong file, as if its index were another source tree's."""
    import pandas as pd

    passages = pd.read_parquet(bundle / INDEX)
    passages["path"] = "elsewhere/" + passages["path"]
    (bundle / INDEX).unlink()  # it may be a hard link: writing into it would change the original
    passages.to_parquet(bundle / INDEX)


def asked(bundle: Path, most: int = 60) -> list[dict[str, Any]]:
    """Request rows out of the bundle's own passages: their summaries, with the file they came from as label."""
    import pandas as pd

    if not (bundle / INDEX).is_file():
        raise SluiceError(f"{bundle}: no {INDEX}, so no questions to ask; name a bundle with an index")
    table = pd.read_parquet(bundle / INDEX, columns=["passage_id", "path", "name", "summary"])
    said = table[table["summary"].fillna("").str.len() > 15]
    table = (said if len(said) >= 10 else table).drop_duplicates(
        "path" if said["path"].nunique() >= most else "passage_id"
    )
    table = table.sample(min(most, len(table)), random_state=0)
    personas = ("novice", "experienced", "researcher")
    return [
        {
            "id": str(row.passage_id),
            "task": "retrieval",
            "persona": personas[number % 3],
            "instance": {"question": str(row.summary or row.name)[:300]},
            "expect": {"paths": [str(row.path)]},
            "units": 1.0,
        }
        for number, row in enumerate(table.itertuples(index=False))
    ]
