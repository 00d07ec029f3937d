"""How a revision is started: flags of ``python -m serving`` and their environment variables."""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from serving.contract.access import Access, read_access
from serving.contract.errors import SluiceError
from serving.contract.task import Task, all_tasks
from serving.core.limits import Limits


@dataclass(frozen=True)
class Options:
    """One revision: the bundle, its name and addresses, and what it takes on.

    ``grpc_port`` 0 turns gRPC off. ``drain`` seconds pass between "not ready" and the end of listening, for routers to
    notice; ``grace`` is the longest that requests in flight may then take. ``keep_days``: how long answers that nobody
    voted on stay in the feedback database. ``max_votes``: of one client in a minute. ``own``: what was said of limits
    that only some tasks have, by the flag's name.
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
    own: Mapping[str, float] = field(default_factory=dict)
    access: Access = field(default_factory=Access)

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> "Options":
        """Options from the command line. Errors: `SluiceError` for a value out of range; argparse exits with 2."""
        flags = vars(_parser().parse_args(arguments))
        own = {name_of(flag): flags[name_of(flag)] for task in all_tasks() for flag in _flags(task.limits)}
        chosen = cls(
            **{name: flags[name] for name in _OWN},
            variant=flags["variant"] or None,
            revision=os.environ.get("K_REVISION") or "local",
            peers=tuple(name for name in flags["peers"].split(",") if name),
            limits=_read(Limits, flags),
            own={name: value for name, value in own.items() if value is not None},
            access=read_access(),
        )
        limits = {name_of(flag): flags[name_of(flag)] for flag in _flags(Limits)}
        counts = ("threads", "max_batch", "max_queue", "grace", "keep_days", "max_votes")
        for name, value in ({name: flags[name] for name in counts} | limits | dict(chosen.own)).items():
            if not value > 0:  # nor is it a number, where it is NaN
                raise SluiceError(f"--{name.replace('_', '-')} {value:g}: must be above 0")
        for name in ("http_port", "grpc_port"):
            if not 0 <= flags[name] <= 65535:
                raise SluiceError(f"--{name.replace('_', '-')} {flags[name]}: a port is a number from 0 to 65535")
        return chosen

    def limits_of(self, task: Task) -> Any:
        """The task's own limits: its dataclass, with what was said."""
        return _read(task.limits, self.own)


_OWN = (
    "model_name", "model_dir", "host", "http_port", "grpc_port", "threads", "max_batch", "max_queue", "drain", "grace",
    "keep_days", "max_votes",
)  # fmt: skip


def name_of(flag: str) -> str:
    """A flag's name among the options."""
    return flag.removeprefix("--").replace("-", "_")


def _flags(limits: type[Any]) -> list[str]:
    return [one.metadata["flag"] for one in fields(limits)]


def _read(limits: type[Any], given: Mapping[str, Any]) -> Any:
    """A dataclass of `serving.contract.task.limit` fields, of what was given by flag."""
    named = {one.name: name_of(one.metadata["flag"]) for one in fields(limits)}
    return limits(**{field: given[name] for field, name in named.items() if name in given})


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
    for one in fields(Limits):
        _add_limit(add, one, one.default)
    peers = "services that the page may ask through this server, such as a,b, at SLUICE_PEERS, a URL with {name} in it"
    add("--peers", default=os.environ.get("SLUICE_PEER_NAMES", ""), help=f"{peers} (default: none)")
    add("--drain", type=float, default=0.5, help="seconds between not ready and not listening (default %(default)s)")
    add("--grace", type=int, default=30, help="seconds for requests in flight at the end (default %(default)s)")
    add("--max-votes", type=int, default=300, help="votes of a client in a minute; beyond, 429 (default %(default)s)")
    add("--keep-days", type=int, default=30, help="days that answers without a vote are kept (default %(default)s)")
    seen: set[str] = set()
    for task in all_tasks():
        group = parser.add_argument_group(f"limits of task {task.name}").add_argument
        for one in fields(task.limits):
            if one.metadata["flag"] not in seen:  # of two tasks that share one, each has its own default
                seen.add(one.metadata["flag"])
                _add_limit(group, one, None)
    return parser


def _add_limit(add: Any, one: Any, default: Any) -> None:
    text = f"{one.metadata['help']} (default {one.default})"
    add(one.metadata["flag"], type=type(one.default), default=default, help=text)
