"""What the bench measures, and in which order; the figures go to `load_tests.bench.judge` and to the page."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from load_tests.bench.client import Job, Times
from load_tests.bench.processes import Running, free_port, pin, server, split_cores
from serving.contract.errors import SluiceError

NAME = "codebase"
ROUTES = {"embeddings": "/openai/v1/embeddings", "answers": f"/v1/models/{NAME}:predict"}
CLIENTS = (1, 8, 32)
OURS, PEER, UNBATCHED, ROUTED = "ours", "peer", "ours, batch 1", "ours, through the router"

ROUNDS = 3
"""Servers take turns this often in each measurement: what else the machine does meanwhile meets all of them alike."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class BenchPlan:
    """One run: the bundle, the fp32 model of the same weights, threads of each server, seconds of each measurement."""

    bundle: Path
    model: Path
    questions: tuple[str, ...]
    threads: int = 1
    seconds: float = 6.0


@dataclass(frozen=True)
class BenchRow:
    """One measurement: which server, which work, how many clients; answers a second and milliseconds at quantiles."""

    server: str
    work: str
    clients: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    answers: int


@dataclass(frozen=True)
class BenchMeasured:
    """Everything one run measured; ``start_seconds`` and ``memory_mb`` by server; ``pinned``: servers had own cores."""

    rows: tuple[BenchRow, ...]
    start_seconds: dict[str, float]
    memory_mb: dict[str, float]
    pinned: bool

    def row(self, name: str, work: str, clients: int) -> BenchRow:
        """One measurement. Errors: `KeyError`."""
        for row in self.rows:
            if (row.server, row.work, row.clients) == (name, work, clients):
                return row
        raise KeyError(f"{name}, {work}, {clients} clients: not measured")


def measure(plan: BenchPlan, say: Say) -> BenchMeasured:
    """Start every server and let them take turns under load."""
    cores, rest = split_cores(plan.threads)
    start: dict[str, float] = {}
    with ExitStack() as stack:
        say("starting our server")
        ours = stack.enter_context(_ours(plan, cores))
        start[OURS] = round(ours.seconds, 2)
        say("starting the peer")
        peer = stack.enter_context(_peer(plan, cores))
        start[PEER] = round(peer.seconds, 2)
        single = stack.enter_context(_ours(plan, cores, "--max-batch", "1"))
        # The router stands on the clients' side, where a laptop's router would find a free core.
        port = free_port()
        router = ["load_tests.bench.router", str(port), ours.url]
        routed = stack.enter_context(server(router, port, "/v2/health/ready", rest))
        rows: list[BenchRow] = []
        for work in ROUTES:
            for clients in CLIENTS:
                servers = {PEER: peer, OURS: ours}
                servers |= {UNBATCHED: single} if clients == max(CLIENTS) else {}
                servers |= {ROUTED: routed} if work == "answers" and clients < max(CLIENTS) else {}
                rows += _take_turns(servers, work, clients, plan, rest, say)
        memory = {PEER: round(peer.memory_mb(), 1), OURS: round(ours.memory_mb(), 1)}
    return BenchMeasured(tuple(rows), start, memory, bool(cores))


def _ours(plan: BenchPlan, cores: set[int], *flags: str) -> AbstractContextManager[Running]:
    port = free_port()
    command = ["serving", "--model-name", NAME, "--model-dir", str(plan.bundle), "--host", "127.0.0.1"]
    command += ["--http-port", str(port), "--grpc-port", "0", "--threads", str(plan.threads), *flags]
    return server(command, port, f"/v2/models/{NAME}/ready", cores)


def _peer(plan: BenchPlan, cores: set[int]) -> AbstractContextManager[Running]:
    port = free_port()
    command = ["load_tests.bench.peer", "--bundle", str(plan.bundle), "--model-dir", str(plan.model)]
    command += ["--port", str(port), "--threads", str(plan.threads), "--name", NAME]
    return server(command, port, "/ready", cores)


def _take_turns(
    servers: dict[str, Running], work: str, clients: int, plan: BenchPlan, cores: set[int], say: Say
) -> list[BenchRow]:
    texts = bodies(work, plan.questions)
    parts: dict[str, list[Times]] = {name: [] for name in servers}
    for turn in range(-1, ROUNDS):  # the first turn is thrown away: caches, threads and clocks wake up in it
        for name, running in servers.items():
            seconds = plan.seconds / ROUNDS if turn >= 0 else min(0.7, plan.seconds)
            times = _offer(Job(running.url, ROUTES[work], texts, clients, seconds), cores)
            if turn >= 0:
                parts[name].append(times)
    rows = [_row(name, work, clients, times) for name, times in parts.items()]
    for row in rows:
        say(f"{work}, {clients} clients: {row.server} {row.per_second:.0f}/s, p99 {row.p99_ms:.1f} ms")
    return rows


def _row(name: str, work: str, clients: int, parts: Sequence[Times]) -> BenchRow:
    ms = sorted(moment for part in parts for moment in part.ms)

    def at(quantile: float) -> float:
        return round(ms[min(len(ms) - 1, int(quantile * len(ms)))], 2)

    rate = round(len(ms) / sum(part.seconds for part in parts), 1)
    return BenchRow(name, work, clients, rate, at(0.5), at(0.95), at(0.99), len(ms))


def _offer(job: Job, cores: set[int]) -> Times:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(job), file)
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "load_tests.bench.client", file.name],
            capture_output=True,
            text=True,
            timeout=job.seconds + 60,
            preexec_fn=lambda: pin(cores),
        )
    if done.returncode:
        raise SluiceError(f"the load generator failed: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    times = Times(**json.loads(done.stdout))
    if times.errors or not times.ms:
        raise SluiceError(f"{job.url}{job.path}: {times.errors} of {len(times.ms)} requests failed; no fair figures")
    return times


def bodies(work: str, questions: Sequence[str]) -> list[str]:
    """Request bodies of a kind of work, one for each question, the same for every server."""
    if work == "embeddings":
        return [json.dumps({"model": NAME, "input": question}) for question in questions]
    return [json.dumps({"instances": [{"question": question}]}) for question in questions]
