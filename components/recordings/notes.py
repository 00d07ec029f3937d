"""What is known of recordings beside their sound: samples.yaml in the source's folder, else names and defaults."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.common.passages import splits
from serving.contract.errors import SluiceError

FILE = "samples.yaml"


class LectureQuestion(BaseModel):
    """A question about a lecture, its answer, and the second of the recording where it is given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=4)
    answer: str
    start: float = Field(ge=0)


class Note(BaseModel):
    """An entry of samples.yaml; everything but ``file`` may be left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    id: str = ""
    title: str = ""
    speaker: str = ""
    condition: str = "unknown"
    split: Literal["train", "val", "test", ""] = ""
    bullets: tuple[str, ...] = ()
    questions: tuple[LectureQuestion, ...] = ()


def read_notes(text: str, place: str) -> dict[str, Note]:
    """Notes by file name. Errors: `SluiceError` naming ``place`` and the entry that is not as `Note` wants it."""
    try:
        entries = [Note.model_validate(entry) for entry in yaml.safe_load(text) or []]
    except (yaml.YAMLError, ValidationError, TypeError) as error:
        raise SluiceError(
            f"{place}: {' '.join(str(error).split())[:300]}; see components/recordings/notes.py"
        ) from error
    return {note.file: note for note in entries}


def slug(stem: str) -> str:
    """A lecture id from a file's stem: lower-case letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")[:80] or "recording"


def unique_ids(files: Sequence[str], notes: Mapping[str, Note]) -> dict[str, str]:
    """Lecture ids by file (path relative to the source), each one used once: the second of a name gets -2."""
    ids: dict[str, str] = {}
    for file in files:
        note = notes.get(file)
        wanted = slug(note.id if note and note.id else file.rsplit("/", 1)[-1].rsplit(".", 1)[0])
        name, count = wanted, 2
        while name in ids.values():
            name, count = f"{wanted}-{count}", count + 1
        ids[file] = name
    return ids


def title_of(lecture_id: str, note: Note | None) -> str:
    """The note's title, or the id in words."""
    return note.title if note and note.title else lecture_id.replace("-", " ").capitalize()


def splits_of(ids: Mapping[str, str], notes: Mapping[str, Note]) -> dict[str, str]:
    """The split of every lecture: its note's, or train, val or test (80/10/10) by a stable hash of its id.

    Where notes say nothing, test and val take whole lectures from train rather than stay empty (see `splits`).
    """
    told = {lecture: notes[file].split for file, lecture in ids.items() if file in notes and notes[file].split}
    return {**splits({lecture: 1 for lecture in ids.values() if lecture not in told}), **told}


def facts(lecture_id: str, note: Note | None, split: str) -> dict[str, Any]:
    """The columns of stage "recording" that do not come from its sound."""
    return {
        "lecture_id": lecture_id,
        "title": title_of(lecture_id, note),
        "speaker": note.speaker if note else "",
        "condition": note.condition if note else "unknown",
        "split": split,
        "bullets": list(note.bullets) if note else [],
        "questions": [question.model_dump() for question in note.questions] if note else [],
    }
