"""``python -m serving.laptop --home DIR``: run the laptop's stand-in for a cluster until Ctrl-C or SIGTERM."""

import argparse
import asyncio
import importlib.util
import logging
import os
import sys
from pathlib import Path

from serving.contract.errors import SluiceError
from serving.contract.files import home
from serving.laptop.plane import Options, run
from serving.laptop.predictor import Patience


def main() -> int:
    """Parse the command line and run; the exit code is 2 for an error that a person can mend."""
    parser = argparse.ArgumentParser(prog="python -m serving.laptop", description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=home() / "serving", help="state, logs and kubeconfig (%(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--api-port", type=int, default=0, help="port of the API (the one of last time, or a free one)")
    parser.add_argument("--port-base", type=int, default=8080, help="first port for InferenceServices (%(default)s)")
    deadline = float(os.environ.get("SLUICE_PROGRESS_DEADLINE", "60"))
    parser.add_argument(
        "--deadline", type=float, default=deadline, help="seconds a new revision has to get ready (%(default)s)"
    )
    parser.add_argument("--grace", type=float, default=15, help="seconds between SIGTERM and SIGKILL (%(default)s)")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    patience = Patience(deadline=given.deadline, grace=given.grace)
    options = Options(given.home.resolve(), given.host, given.api_port, given.port_base, patience)
    if importlib.util.find_spec("uvloop"):  # optional: a third more requests a second through the router
        import uvloop

        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    try:
        asyncio.run(run(options))
    except SluiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {options.home} cannot be used: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
