"""How a revision is started: flags of ``python -m serving`` and their environment variables."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serving.errors import SluiceError
from serving.limits import Limits


@dataclass(frozen=True)
class Options:
    """One revision: the bundle, its name and addresses, and what it takes on.

    ``grpc_port`` 0 turns gRPC off. ``drain`` seconds pass between "not ready" and the end of listening, for routers to
    notice; ``grace`` is the longest that requests in flight may then take.
    """

    model_name: str
    model_dir: Path
    host: str = "0.0.0.0"
    http_port: int = 8080
    grpc_port: int = 8081
    variant: str | None = None
    threads: int = 1
    max_batch: int = 8
    max_queue: int = 256
    drain: float = 0.5
    grace: int = 30
    revision: str = "local"
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> "Options":
        """Options from the command line. Errors: `SluiceError` for a value out of range; argparse exits with 2."""
        flags = _parser().parse_args(arguments)
        chosen = cls(
            **{name: getattr(flags, name) for name in _OWN},
            variant=flags.variant or None,
            revision=os.environ.get("K_REVISION") or "local",
            limits=Limits(flags.max_in_flight, flags.deadline, flags.max_body, flags.max_items),
        )
        for name in ("threads", "max_batch", "max_queue", "grace"):
            _positive(name, getattr(chosen, name))
        for name, value in vars(chosen.limits).items():
            _positive({"in_flight": "max_in_flight", "body": "max_body", "items": "max_items"}.get(name, name), value)
        for name in ("http_port", "grpc_port"):
            if not 0 <= getattr(chosen, name) <= 65535:
                raise SluiceError(f"{_flag(name)} {getattr(chosen, name)}: a port is a number from 0 to 65535")
        return chosen


_OWN = (
    "model_name", "model_dir", "host", "http_port", "grpc_port", "threads", "max_batch", "max_queue", "drain", "grace",
)  # fmt: skip


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise SluiceError(f"{_flag(name)} {value:g}: must be above 0")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m serving", description="Serve one bundle as one revision.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--model-name", required=True, help="name in the URL, such as codebase")
    add("--model-dir", required=True, type=Path, help="the bundle directory")
    add("--host", default=os.environ.get("SLUICE_HOST", "0.0.0.0"), help="address to listen on (default %(default)s)")
    add("--http-port", type=int, default=8080, help="v1, v2, OpenAI routes, feedback, metrics (default %(default)s)")
    add("--grpc-port", type=int, default=8081, help="v2 over gRPC; 0 turns it off (default %(default)s)")
    add("--variant", default="", help="variant of the bundle (default: the one it chose)")
    threads = os.environ.get("SLUICE_THREADS") or "1"  # as text: argparse then complains of a bad one like of a flag
    add("--threads", type=int, default=threads, help="threads of one model call (default SLUICE_THREADS, or 1)")
    # With as many inputs as clients in one batch everyone waits for everyone; from 8 on a CPU gains nothing more.
    add("--max-batch", type=int, default=8, help="inputs in one model call (default %(default)s)")
    add("--max-queue", type=int, default=256, help="inputs that may wait; beyond, 429 (default %(default)s)")
    add("--max-in-flight", type=int, default=256, help="requests at once; beyond, 429 (default %(default)s)")
    add("--max-items", type=int, default=128, help="inputs in one request (default %(default)s)")
    add("--max-body", type=int, default=1_000_000, help="bytes of a body; beyond, 413 (default %(default)s)")
    add("--deadline", type=float, default=10.0, help="seconds to answer; beyond, 504 (default %(default)s)")
    add("--drain", type=float, default=0.5, help="seconds between not ready and not listening (default %(default)s)")
    add("--grace", type=int, default=30, help="seconds for requests in flight at the end (default %(default)s)")
    return parser
