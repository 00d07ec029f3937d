"""What a gate says: passed or not, why, and the figures it judged by."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from serving.contract.files import atomic_file


@dataclass(frozen=True)
class Verdict:
    """A gate's decision.

    ``gate`` names the gate (data, quality, quantisation, load, canary), ``reason`` is one sentence for people, and
    ``figures`` holds the numbers that led there, each named with its protocol.
    """

    gate: str
    passed: bool
    reason: str
    figures: Mapping[str, float | int | str | bool] = field(default_factory=dict)


def write_verdicts(verdicts: Iterable[Verdict], path: Path | str) -> None:
    """Write verdicts to ``path`` as a JSON list, whole or not at all."""
    with atomic_file(path) as scratch:
        scratch.write_text(json.dumps([asdict(v) for v in verdicts], indent=1))


def read_verdicts(path: Path | str) -> list[Verdict]:
    """Read what `write_verdicts` wrote."""
    return [Verdict(**row) for row in json.loads(Path(path).read_text())]
