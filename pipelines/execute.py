"""The child process of `sluice run`: one pipeline under kfp.local, cached, all of its noise on stdout.

Run as ``python -m pipelines.execute MODULE:PIPELINE ARGUMENTS_JSON``. It is a process of its own because kfp.local
leaves `builtins.print` patched and logs to the root logger, and because a run must end with its parent, however that
died.
"""

import fcntl
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from serving.contract.errors import SluiceError
from serving.contract.files import home


def _follow(parent: int) -> None:
    """End this process group when the parent is gone: a run nobody watches would race with the one that resumes it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _lock(root: Path) -> int:
    handle = os.open(root / "run.lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SluiceError(f"another run is using {root}; wait for it, or set another SLUICE_HOME") from None
    return handle


def main(reference: str, arguments: str) -> None:
    """Run ``module:pipeline`` with a JSON object of arguments; artifacts go to ``$SLUICE_HOME/runs/<pipeline>``."""
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    module, _, name = reference.partition(":")
    root = home() / "runs" / name
    root.mkdir(parents=True, exist_ok=True)
    _lock(root)
    from kfp import local

    # kfp.local tells of a cache hit outside of its own logger's context.
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s - %(message)s")

    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(root), enable_caching=True)
    pipeline = getattr(importlib.import_module(module), name)
    print("TITLES", json.dumps(titles(pipeline.pipeline_spec)), flush=True)
    pipeline(**json.loads(arguments))


def titles(spec: Any) -> dict[str, str]:
    """Display names of a compiled pipeline's tasks, by the names that kfp.local logs."""
    dags = [spec.root.dag, *(component.dag for component in spec.components.values())]
    return {name: task.task_info.name for dag in dags for name, task in dag.tasks.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
