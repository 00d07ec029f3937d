"""From figures to a judgement: what was promised, what was measured, and whether it holds. Pure functions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from load_tests.bench.measure import CLIENTS, OURS, PEER, ROUTED, ROUTES, UNBATCHED, BenchMeasured

MOST = max(CLIENTS)


@dataclass(frozen=True)
class BenchTarget:
    """One promise: ``value`` against ``target`` (``None``: measured, nothing promised), in ``unit``."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it holds; ``None`` where nothing was promised."""
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


def ratio(measured: BenchMeasured, work: str, clients: int) -> float:
    """Our throughput over the peer's."""
    return measured.row(OURS, work, clients).per_second / measured.row(PEER, work, clients).per_second


def judge(measured: BenchMeasured, variants: Mapping[str, Mapping[str, Any]], step_seconds: float) -> list[BenchTarget]:
    """Every promise of the bench and every figure beside them; ``variants`` is the bundle's, with its own figures."""
    pairs = [(work, clients) for work in ROUTES for clients in CLIENTS]
    lower = sum(measured.row(OURS, *pair).p99_ms < measured.row(PEER, *pair).p99_ms for pair in pairs)
    targets = [
        BenchTarget(
            f"embeddings, {MOST} clients: throughput against the peer", ratio(measured, "embeddings", MOST), "x", 6
        ),
        BenchTarget(
            f"whole answers, {MOST} clients: throughput against the peer", ratio(measured, "answers", MOST), "x", 4
        ),
        BenchTarget(f"p99 lower than the peer's, of {len(pairs)} measurements", lower, "", len(pairs)),
        BenchTarget("start-up of a revision", measured.start_seconds[OURS], "s", 5, at_most=True),
        *_of_variants(variants),
        BenchTarget("batching gain, embeddings", _batching(measured, "embeddings"), "x"),
        BenchTarget("batching gain, whole answers", _batching(measured, "answers"), "x"),
        BenchTarget("router, added to p50 at 1 client", _router(measured, 1), "ms"),
        BenchTarget("router, added to p50 at 8 clients", _router(measured, 8), "ms"),
        BenchTarget("memory of our server", measured.memory_mb[OURS], "MB"),
        BenchTarget("memory of the peer", measured.memory_mb[PEER], "MB"),
        BenchTarget("start-up of the peer", measured.start_seconds[PEER], "s"),
    ]
    if step_seconds:
        targets.append(BenchTarget("pipeline, one empty step", step_seconds, "s"))
    return targets


def _batching(measured: BenchMeasured, work: str) -> float:
    return measured.row(OURS, work, MOST).per_second / measured.row(UNBATCHED, work, MOST).per_second


def _router(measured: BenchMeasured, clients: int) -> float:
    return measured.row(ROUTED, "answers", clients).p50_ms - measured.row(OURS, "answers", clients).p50_ms


def _of_variants(variants: Mapping[str, Mapping[str, Any]]) -> list[BenchTarget]:
    if not {"fp32", "int8"} <= set(variants):
        return []
    fp32, int8 = variants["fp32"], variants["int8"]
    found = [BenchTarget("INT8 smaller than fp32", 100 * (1 - int8["bytes"] / fp32["bytes"]), "%", 74)]
    kept = kept_quality(fp32, int8)
    return found if kept is None else [*found, BenchTarget("recall@10 kept by INT8", 100 * kept, "%", 99)]


def kept_quality(fp32: Mapping[str, Any], int8: Mapping[str, Any]) -> float | None:
    """Share of recall@10 that INT8 keeps, as quantize measured it; ``None`` if the bundle does not say."""
    for name, value in int8.items():
        if name.startswith("retained"):
            return float(value)
        if name.startswith("recall@10") and fp32.get(name):
            return float(value) / float(fp32[name])
    return None
