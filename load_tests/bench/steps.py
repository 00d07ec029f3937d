"""What a pipeline step costs beyond its own work: five empty steps on KFP's local engine, as `sluice run` uses it.

``python -m load_tests.bench.steps`` prints seconds a step; a process of its own, for KFP patches `print`.
"""

import os
import sys
import tempfile
import time

from kfp import dsl, local

STEPS = 5


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def nothing(number: int) -> int:
    """Hand a number on."""
    return number + 1


@dsl.pipeline
def chain() -> int:
    """Steps one after another."""
    last = nothing(number=0)
    for _ in range(STEPS - 1):
        last = nothing(number=last.output)
    return last.output


def seconds_per_step() -> float:
    """Wall-clock seconds of one step."""
    with tempfile.TemporaryDirectory() as root:
        runner = local.SubprocessRunner(use_venv=False)
        local.init(runner=runner, pipeline_root=root, raise_on_error=True, enable_caching=False)
        started = time.perf_counter()
        chain()
        return (time.perf_counter() - started) / STEPS


if __name__ == "__main__":
    told = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    os.write(told, f"{seconds_per_step():.4f}\n".encode())
    sys.exit(0)
