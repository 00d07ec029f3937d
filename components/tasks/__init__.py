"""The kinds of model there are: one typed object a task, which says what every step means for it.

A task is the package ``components.tasks.<task>`` with an object ``TASK``. Whoever adds one adds that package, here or
in a folder of the same layout on PYTHONPATH, and ``serving.<task>`` beside it; no list names them.
"""

from __future__ import annotations

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import extend_path, iter_modules
from typing import TYPE_CHECKING, Any, Protocol

from serving.contract.errors import SluiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import pandas as pd

    from components.common.page import Page
    from components.common.spec import ModelSpec
    from components.evaluate.evaluated import Evaluated
    from components.featurize.settings import FeaturizeSettings
    from components.gate.rules import QualityGate
    from components.pack.packing import Given, Packed
    from components.quantize.variants import Measured, QuantizeSettings
    from components.train.learner import Learner
    from components.train.settings import Hyperparameters, TrainSettings
    from components.validate.gate import Checked

    Rows = Mapping[str, pd.DataFrame]

__path__ = extend_path(__path__, __name__)
DESCRIPTION = "sluice.json"


class Base(Protocol):
    """Where the model starts from."""

    def fetch(self, base_model: str, target: Path) -> ModelSpec:
        """Write ``base_model`` as a model directory at ``target``, whole or not at all. Errors: `SluiceError`."""


class Data(Protocol):
    """The data gate: which columns the two tables need, which steps make them, and what is asked of every row."""

    @property
    def CORPUS(self) -> tuple[str, ...]: ...  # noqa: N802, D102
    @property
    def EXAMPLES(self) -> tuple[str, ...]: ...  # noqa: N802, D102
    @property
    def MAKERS(self) -> tuple[str, str]: ...  # noqa: N802, D102
    @property
    def Settings(self) -> type[Any]: ...  # noqa: N802, D102

    def check(self, corpus: pd.DataFrame, examples: pd.DataFrame, settings: Any, /) -> Checked:
        """Judge both tables, row by row and as a whole."""

    def picture(self, page: Page, checked: Checked) -> None:
        """Add what this kind of data looks like to the page."""


class Features(Protocol):
    """Features in Feast, keyed by the task's own entities: what is registered, which rows feed it, and who reads it.

    ``CORPUS``, ``EXAMPLES``: columns that are read of the two tables. ``SERVICE``: feature service that is joined as of
    each row of `entity_df`; ``ONLINE``: the one that is read online, whose entities' keys are those of `entity_rows`.
    Rows of a source or push: join keys, event_timestamp (UTC: from when they are known), features.
    """

    @property
    def CORPUS(self) -> tuple[str, ...]: ...  # noqa: N802, D102
    @property
    def EXAMPLES(self) -> tuple[str, ...]: ...  # noqa: N802, D102
    @property
    def SERVICE(self) -> str: ...  # noqa: N802, D102
    @property
    def ONLINE(self) -> str: ...  # noqa: N802, D102
    @property
    def Settings(self) -> type[FeaturizeSettings]: ...  # noqa: N802, D102

    def objects(self, folder: Path, /) -> list[Any]:
        """What Feast registers (feature_repo/tasks/<task>.py): entities, sources, views, services over files there."""

    def feedback(self) -> Any:
        """What users did so far, from where serving keeps it. Errors: `SluiceError` where that does not answer."""

    def from_tables(self, corpus: pd.DataFrame, examples: pd.DataFrame, feedback: Any, now: pd.Timestamp, /) -> Rows:
        """Rows of the sources that need the run's tables, by the source's name."""

    def from_feedback(self, feedback: Any, now: pd.Timestamp, /) -> Rows:
        """Rows of the sources that feedback alone feeds, by the source's name; what is in progress is left out."""

    def pushed(self, rows: Rows, feedback: Any, now: pd.Timestamp, /) -> Rows:
        """Whole rows of what changed since ``rows`` (all sources'), by the push source's name: for the online store."""

    def entity_df(self, corpus: pd.DataFrame, examples: pd.DataFrame, settings: Any, /) -> pd.DataFrame:
        """What training joins: join keys, event_timestamp, and columns of its own that go along; sorted by all."""

    def entity_rows(self, corpus: pd.DataFrame, examples: pd.DataFrame, /) -> pd.DataFrame:
        """Join keys, and nothing else, of what the snapshot reads online."""


class Learning(Protocol):
    """How the model learns (`components.train.learner`); ``STUDY`` is what a study of it is like by default."""

    @property
    def STUDY(self) -> dict[str, Any]: ...  # noqa: N802, D102
    @property
    def Settings(self) -> type[TrainSettings]: ...  # noqa: N802, D102

    def read(self, base: Path | str, corpus: Path | str, examples: Path | str, settings: Any, /) -> Any:
        """Read and check the files once, for any number of runs."""

    def learner(self, base: Path | str, data: Any, hyper: Hyperparameters, settings: Any) -> Learner:
        """A fresh base model that learns from what `read` gave."""


class Merging(Protocol):
    """What must not change when an adapter becomes part of the weights; ``FILES`` of the adapter's go along."""

    @property
    def FILES(self) -> tuple[str, ...]: ...  # noqa: N802, D102

    def subject(self, directory: Path | str, /) -> Any:
        """The model of a directory, its module in ``model``, its description in ``spec``."""

    def outputs(self, subject: Any, /) -> np.ndarray:
        """Outputs [n, d] on fixed samples."""


class Quantising(Protocol):
    """What variants of the model there are and what each keeps."""

    @property
    def Settings(self) -> type[QuantizeSettings]: ...  # noqa: N802, D102

    def measure(self, model: Path, corpus: Path, examples: Path, settings: Any, out: Path) -> Measured:
        """Write the variants below ``out`` and measure them."""


class Packing(Protocol):
    """What a bundle holds beside the variants."""

    @property
    def Settings(self) -> type[Any]: ...  # noqa: N802, D102

    def pack(self, given: Given, settings: Any, out: Path) -> Packed:
        """Write it into the bundle at ``out``."""


class Evaluating(Protocol):
    """How a bundle is measured, and what a load test asks of it."""

    @property
    def Settings(self) -> type[Any]: ...  # noqa: N802, D102

    def evaluate(self, bundle: Path, corpus: Path, examples: Path, settings: Any) -> Evaluated:
        """Measure a bundle on the examples of split "test"."""

    def asked(self, corpus: Path, examples: Path) -> list[dict[str, Any]]:
        """Requests with their labels: id, persona, instance, expect, units."""


class Gating(Protocol):
    """When a challenger is better than the champion (`components.gate.rules`)."""

    @property
    def GATE(self) -> QualityGate[Any]: ...  # noqa: N802, D102


class Drilling(Protocol):
    """How a sound bundle is made to answer wrongly, to see it rolled back; ``SETTINGS`` of that rollout."""

    @property
    def SETTINGS(self) -> dict[str, Any]: ...  # noqa: N802, D102

    def spoil(self, bundle: Path, /) -> None:
        """Make every answer of the bundle (a copy) wrong, in the right shape and just as fast."""

    def asked(self, bundle: Path, /) -> list[dict[str, Any]]:
        """Labelled requests out of the bundle itself, where no release has left any."""


class Task(Protocol):
    """One kind of model. Each method imports what it gives, so that a step loads, and depends on, that part only.

    Without ``merging`` there is no adapter: what training writes is the model. Without ``drilling`` it has no drills,
    without ``features`` no step featurize.
    """

    def base(self) -> Base: ...  # noqa: D102
    def data(self) -> Data: ...  # noqa: D102
    def features(self) -> Features | None: ...  # noqa: D102
    def learning(self) -> Learning: ...  # noqa: D102
    def merging(self) -> Merging | None: ...  # noqa: D102
    def quantising(self) -> Quantising: ...  # noqa: D102
    def packing(self) -> Packing: ...  # noqa: D102
    def evaluating(self) -> Evaluating: ...  # noqa: D102
    def gating(self) -> Gating: ...  # noqa: D102
    def drilling(self) -> Drilling | None: ...  # noqa: D102


def known() -> list[str]:
    """Names of the tasks there are."""
    return sorted(module.name for module in iter_modules(__path__) if module.ispkg)


def find(name: str) -> Task:
    """The task of that name. Errors: `SluiceError` that names the tasks there are."""
    if not name.isidentifier() or find_spec(f"{__name__}.{name}") is None:
        raise SluiceError(f"task '{name}': there is {', '.join(known())}; name one of them")
    task: Task = import_module(f"{__name__}.{name}").TASK
    return task


def task_of(model: Path | str) -> str:
    """The task that a model directory was made for, from its ``sluice.json``; `SluiceError` where it does not say."""
    path = Path(model) / DESCRIPTION
    if not path.is_file():
        raise SluiceError(f"{model}: no {DESCRIPTION}, so it is no model directory; make one with components/base")
    if not (name := json.loads(path.read_text()).get("task")):
        raise SluiceError(f"{path}: no 'task'; make the directory with components/base again")
    return str(name)
