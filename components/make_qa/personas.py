"""Hand-written persona sets: questions in users' own words, resolved against the passages of a source."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from components.make_qa.candidates import PassageRow
from serving.contract.errors import SluiceError

SETS = {file.stem.removeprefix("personas-"): file for file in Path(__file__).parent.glob("personas-*.yaml")}


class PersonaQuestion(BaseModel):
    """A question, who asks it, and where the answer stands.

    A gold entry is ``path::Qualified.name``, or ``path`` for a whole file; ``#phrase`` narrows a documentation
    that fills several passages to those that hold the phrase. No gold at all: nothing in this source answers it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=8)
    persona: Literal["novice", "experienced", "researcher"]
    category: Literal["what", "why", "how", "parameters", "changed"]
    gold: tuple[str, ...]

    def paths(self) -> list[str]:
        """The files that answer it, also those that this source does not hold."""
        return sorted({entry.partition("#")[0].partition("::")[0] for entry in self.gold})


@lru_cache(maxsize=1)
def load_personas(name: str) -> tuple[PersonaQuestion, ...]:
    """The questions of personas-NAME.yaml; none without a name. SluiceError: there is no such set."""
    if not name:
        return ()
    if name not in SETS:
        raise SluiceError(f"make_qa: no persona set {name!r}; there is {', '.join(sorted(SETS))}")
    return tuple(PersonaQuestion.model_validate(entry) for entry in yaml.safe_load(SETS[name].read_text("utf-8")))


def split_of(question: str, path: str) -> str:
    """``calibration`` (confidence is fitted on it) or ``persona`` (held out for all figures), by a hash of its path.

    Questions about one file lie on one side; those that nothing answers (no path) by their text.
    """
    odd = hashlib.sha256((path or question).encode()).digest()[0] % 2
    return "persona" if odd else "calibration"


def resolve(question: PersonaQuestion, places: dict[str, list[int]], texts: Sequence[str]) -> list[int]:
    """Indices of the passages that answer ``question``; [] when none of its gold entries is in this source."""
    indices: set[int] = set()
    for entry in question.gold:
        place, _, phrase = entry.partition("#")
        indices.update(index for index in places.get(place, []) if phrase in texts[index])
    return sorted(indices)


def places_of(rows: Sequence[PassageRow]) -> dict[str, list[int]]:
    """Passage indices by ``path`` and by ``path::name``."""
    by_place: dict[str, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        by_place[row.path].append(index)
        by_place[f"{row.path}::{row.name}"].append(index)
    return by_place
