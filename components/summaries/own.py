"""The texts that come with the project (documents/*.yaml): ours, short, with three bullets each."""

from functools import cache
from pathlib import Path

from components.tasks.highlights.tables import Document

FOLDER = Path(__file__).parent / "documents"


@cache
def documents() -> tuple[Document, ...]:
    """All of them, of source "sample"; condition is the file's theme (nature, making, people, past, meetings)."""
    import yaml

    splits = {
        name: split for split, names in yaml.safe_load((FOLDER / "splits.yaml").read_text()).items() for name in names
    }
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.stem == "splits":
            continue
        for text in yaml.safe_load(path.read_text()):
            theme = path.stem.split("-")[0]
            found.append(Document(text["id"], text["sentences"], text["bullets"], splits[text["id"]], "sample", theme))
    return tuple(found)
