"""What Feast knows of each task's entities: one module a task, whose ``objects(folder)`` gives what is registered.

A task without features has none. Modules are found here, and in a folder of the same layout on PYTHONPATH; no list
names them. `components.tasks.Features` says how their rows are made.
"""

from importlib import import_module
from pathlib import Path
from pkgutil import extend_path, iter_modules
from typing import Any

from feast import FileSource
from feast.data_format import ParquetFormat

from serving.contract.errors import SluiceError

__path__ = extend_path(__path__, __name__)


def source(name: str, folder: Path) -> FileSource:
    """The file ``<folder>/<name>.parquet``, which the step featurize writes: join keys, event_timestamp, features."""
    return FileSource(
        name=name,
        path=str(folder / f"{name}.parquet"),
        timestamp_field="event_timestamp",
        file_format=ParquetFormat(),
    )


def declared(folder: Path) -> dict[str, Any]:
    """What every task's features are made of, over the parquet files in ``folder``, by type and name.

    Tasks may share an object that is the same in each. Errors: `SluiceError` where it is not.
    """
    found: dict[str, Any] = {}
    for module in iter_modules(__path__):
        for thing in import_module(f"{__name__}.{module.name}").objects(folder):
            name = f"{type(thing).__name__} {thing.name}"
            if found.setdefault(name, thing) != thing:
                raise SluiceError(f"feature_repo/tasks/{module.name}.py: another task has a {name}; name it otherwise")
    return found
