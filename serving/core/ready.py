"""``python -m serving.core.ready``: does every model of the server here answer that it is ready? Exit code 0 or 1.

For container engines without KServe's probes. The server's own ``/v2/health/ready`` is true before its model is.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from http.client import HTTPException
from urllib.parse import quote
from urllib.request import urlopen

TIMEOUT = 4
"""Seconds for one answer: under the engine's own limit, so that the reason is told."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask the server on the loopback address. Out: exit code; the reason of a 1 goes to stderr."""
    parser = ArgumentParser("python -m serving.core.ready", description=__doc__)
    parser.add_argument("--http-port", type=int, default=8080, help="the server's REST port (default %(default)s)")
    models = f"http://127.0.0.1:{parser.parse_args(arguments).http_port}/v2/models"
    try:
        names = _read(models)["models"]
        unready = [name for name in names if not _read(f"{models}/{quote(name)}/ready")["ready"]]
    except (OSError, HTTPException, ValueError, KeyError) as error:  # a model that is not ready answers 503
        print(f"not ready: {models}: {error}", file=sys.stderr)
        return 1
    if unready or not names:
        print(f"not ready: {', '.join(unready) or 'no model'}", file=sys.stderr)
        return 1
    return 0


def _read(url: str) -> dict[str, list[str]]:
    with urlopen(url, timeout=TIMEOUT) as answer:
        found: dict[str, list[str]] = json.load(answer)
    return found


if __name__ == "__main__":
    sys.exit(main())
