"""`load`: the only way to use a bundle. What is evaluated is what is served."""

import importlib
import os
from pathlib import Path

from serving.contract.bundle import Bundle
from serving.contract.errors import SluiceError
from serving.contract.predictor import Predictor

TASKS = {
    "retrieval": "serving.retrieval.retriever:Retriever",
    "transcription": "serving.transcription.transcriber:Transcriber",
    "highlights": "serving.highlights.highlighter:Highlighter",
}


def load(path: Path | str, variant: str | None = None, threads: int | None = None) -> Predictor:
    """Open the bundle directory ``path`` for prediction.

    In: ``variant`` one of the bundle's variants (default: the one it chose); ``threads`` of one ONNX session (default:
    ``$SLUICE_THREADS``, else 1). Out: a `Predictor`; call ``close()`` when done. Errors: `SluiceError` if the
    directory is no bundle, a part is missing, or its task is unknown.
    """
    bundle = Bundle.read(path)
    if bundle.task not in TASKS:
        raise SluiceError(f"{path}: unknown task {bundle.task!r}; this version serves {', '.join(TASKS)}")
    module, name = TASKS[bundle.task].split(":")
    threads = threads or int(os.environ.get("SLUICE_THREADS", "1"))
    predictor: Predictor = getattr(importlib.import_module(module), name).open(Path(path), bundle, variant, threads)
    return predictor
