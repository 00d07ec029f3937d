"""How a revision is started: flags of ``python -m serving`` and their environment variables."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.contract.access import Access, read_access
from serving.contract.errors import SluiceError
from serving.core.limits import Limits


@dataclass(frozen=True)
class Options:
    """One revision: the bundle, its name and addresses, and what it takes on.

    ``grpc_port`` 0 turns gRPC off. ``drain`` seconds pass between "not ready" and the end of listening, for routers to
    notice; ``grace`` is the longest that requests in flight may then take. ``keep_days``: how long answers that nobody
    voted on stay in the feedback database. ``max_votes``: of one client in a minute.
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
    keep_days: int = 30
    max_votes: int = 300
    peers: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    access: Access = field(default_factory=Access)

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> "Options":
        """Options from the command line. Errors: `SluiceError` for a value out of range; argparse exits with 2."""
        flags = _parser().parse_args(arguments)
        chosen = cls(
            **{name: getattr(flags, name) for name in _OWN},
            variant=flags.variant or None,
            revision=os.environ.get("K_REVISION") or "local",
            peers=tuple(name for name in flags.peers.split(",") if name),
            limits=Limits(**{name: getattr(flags, flag) for name, flag in _LIMITS.items()}),
            access=read_access(),
        )
        for name in ("threads", "max_batch", "max_queue", "grace", "keep_days", "max_votes"):
            _positive(name, getattr(chosen, name))
        for name, value in vars(chosen.limits).items():
            _positive(_LIMITS[name], value)
        for name in ("http_port", "grpc_port"):
            if not 0 <= getattr(chosen, name) <= 65535:
                raise SluiceError(f"{_flag(name)} {getattr(chosen, name)}: a port is a number from 0 to 65535")
        return chosen


_OWN = (
    "model_name", "model_dir", "host", "http_port", "grpc_port", "threads", "max_batch", "max_queue", "drain", "grace",
    "keep_days", "max_votes",
)  # fmt: skip
_LIMITS = {
    "in_flight": "max_in_flight", "deadline": "deadline", "body": "max_body", "items": "max_items",
    "upload": "max_upload", "inline": "max_inline", "duration": "max_duration", "uploads": "max_uploads",
    "pace": "pace", "arrival": "max_arrival",
}  # fmt: skip
"""The fields of `Limits` and their flags."""


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _positive(name: str, value: float) -> None:
    if not value > 0:  # nor is it a number, where it is NaN
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
    add(
        "--max-arrival",
        type=float,
        default=1800,
        help="seconds for any body to come; beyond, 408 (default %(default)s)",
    )
    add("--deadline", type=float, default=10.0, help="seconds to answer; beyond, 504 (default %(default)s)")
    _add_recordings(add)
    peers = "services that the page may ask through this server, such as a,b, at SLUICE_PEERS, a URL with {name} in it"
    add("--peers", default=os.environ.get("SLUICE_PEER_NAMES", ""), help=f"{peers} (default: none)")
    add("--drain", type=float, default=0.5, help="seconds between not ready and not listening (default %(default)s)")
    add("--grace", type=int, default=30, help="seconds for requests in flight at the end (default %(default)s)")
    add("--max-votes", type=int, default=300, help="votes of a client in a minute; beyond, 429 (default %(default)s)")
    add("--keep-days", type=int, default=30, help="days that answers without a vote are kept (default %(default)s)")
    return parser


def _add_recordings(add: Any) -> None:
    add("--max-upload", type=int, default=2_000_000_000, help="bytes of a recording's file (default %(default)s)")
    add("--max-inline", type=int, default=35_000_000, help="bytes of JSON that holds recordings (default %(default)s)")
    add("--max-duration", type=float, default=14_400, help="seconds of a recording; beyond, 413 (default %(default)s)")
    add("--max-uploads", type=int, default=8, help="large bodies at once; beyond, 429 (default %(default)s)")
    add("--pace", type=float, default=1.0, help="seconds that a second of sound may take, beside --deadline "
        "(default %(default)s)")  # fmt: skip
