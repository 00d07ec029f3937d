"""What a load test does, as data that `run` writes and the locustfile reads."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

COLUMNS = (
    "at", "latency_ms", "status", "target", "revision", "persona", "asked", "task", "units", "correct", "error",
)  # fmt: skip
"""Of a sample: at (epoch s, when the answer was complete), latency_ms, status (0 = no connection), target (address),
revision (header x-sluice-revision), persona, asked (id of the request row), its task and units, correct (True, False,
or empty without a label), error."""
PLAN_VARIABLE = "SLUICE_LOAD_PLAN"


@dataclass(frozen=True)
class Behaviour:
    """How a kind of user asks: weight among the users, seconds between two requests (from, to), fields it adds."""

    users: int
    think_s: tuple[float, float]
    adds: Mapping[str, Any] = field(default_factory=dict)

    @property
    def requests(self) -> float:
        """Its weight among the requests: many users who think long ask less than a few quick ones."""
        return self.users / (sum(self.think_s) / 2)


PERSONAS = {
    "novice": Behaviour(users=5, think_s=(3.0, 8.0), adds={"top_k": 5}),
    "experienced": Behaviour(users=3, think_s=(1.0, 3.0), adds={"top_k": 5}),
    "researcher": Behaviour(users=2, think_s=(0.3, 1.5), adds={"top_k": 10}),
}
PLAIN = {"": Behaviour(users=1, think_s=(0.5, 2.0))}
"""The one kind of user where no request row names a persona."""


def kinds_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Behaviour]:
    """The kinds of users for these request rows: all personas as soon as one row names one, else the plain user."""
    return PERSONAS if any(row.get("persona") in PERSONAS for row in rows) else PLAIN


@dataclass(frozen=True)
class LoadTarget:
    """One address under load: how many users at once, and the requests/s they offer together (None: they think)."""

    name: str
    host: str
    users: int
    rate: float | None = None

    def crew(self, kinds: Mapping[str, Behaviour]) -> dict[str, tuple[int, float | None]]:
        """Users and seconds between two requests of each, by kind; users of a paced target share one pace."""
        if self.users == 0:
            return {name: (0, None) for name in kinds}
        weights = {n: p.users if self.rate is None else p.requests for n, p in kinds.items()}
        counts = _apportion(self.users, weights)
        pace = None if self.rate is None else self.users / self.rate
        return {name: (count, pace) for name, count in counts.items() if count}


@dataclass(frozen=True)
class LoadPlan:
    """One run of Locust: the model's name in its routes, addresses, request rows (see `load_tests.asked`).

    ``protocol``: a name of `load_tests.protocols.PROTOCOLS`; ``path``: instead of the protocol's own.
    """

    model: str
    targets: list[LoadTarget]
    asked: list[dict[str, Any]]
    out: str = ""
    timeout_s: float = 5.0
    seconds: float = field(default=10.0)
    protocol: str = "v1"
    path: str = ""

    @classmethod
    def from_environment(cls) -> "LoadPlan":
        """The plan that ``$SLUICE_LOAD_PLAN`` names, else the own questions of ``$SLUICE_MODEL`` to Locust's --host."""
        path = os.environ.get(PLAN_VARIABLE)
        if path:
            fields = json.loads(Path(path).read_text())
            return cls(**{**fields, "targets": [LoadTarget(**t) for t in fields["targets"]]})
        from load_tests.slo import own_questions

        model = os.environ.get("SLUICE_MODEL", "")
        return cls(model, [LoadTarget("endpoint", "", 0)], own_questions(model))

    def write(self, path: Path) -> None:
        """Write the plan where the locustfile will read it."""
        path.write_text(json.dumps(asdict(self)))


def _apportion(total: int, weights: dict[str, float]) -> dict[str, int]:
    """Split ``total`` by weight into whole numbers that add up, each at least 1 if possible (largest remainder)."""
    least = 1 if total >= len(weights) else 0
    spare, whole = total - least * len(weights), sum(weights.values())
    exact = {name: least + spare * weight / whole for name, weight in weights.items()}
    counts = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda n: counts[n] - exact[n])[: total - sum(counts.values())]:
        counts[name] += 1
    return counts
