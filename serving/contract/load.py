"""`load`: the only way to use a bundle. What is evaluated is what is served."""

import os
from pathlib import Path

from serving.contract.bundle import Bundle
from serving.contract.predictor import Predictor
from serving.contract.task import find_task


def load(path: Path | str, variant: str | None = None, threads: int | None = None) -> Predictor:
    """Open the bundle directory ``path`` for prediction.

    In: ``variant`` one of the bundle's variants (default: the one it chose); ``threads`` of one ONNX session (default:
    ``$SLUICE_THREADS``, else 1). Out: a `Predictor`; call ``close()`` when done. Errors: `SluiceError` if the
    directory is no bundle, a part is missing, or its task is unknown.
    """
    bundle = Bundle.read(path)
    task = find_task(bundle.task, str(path))
    return task.open(Path(path), bundle, variant, threads or int(os.environ.get("SLUICE_THREADS", "1")))
