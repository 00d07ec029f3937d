"""The bench as one self-contained HTML page: the promises, the pictures, every figure."""

import html
import io
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from load_tests.bench.judge import BenchTarget, ratio
from load_tests.bench.measure import CLIENTS, OURS, PEER, ROUTES, BenchMeasured
from serving.contract.files import atomic_file

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330}
table{border-collapse:collapse;width:100%;margin:1rem 0}td,th{padding:.3rem .6rem;border-bottom:1px solid #d8dde6}
td+td,th+th{text-align:right}.met{color:#18794e}.missed{color:#b42318;font-weight:600}svg{max-width:100%;height:auto}
@media(prefers-color-scheme:dark){body{background:#14181f;color:#dfe5ee}td,th{border-color:#333c4a}
svg{background:#fff;border-radius:6px}.met{color:#5bd19a}.missed{color:#ff8a7a}}"""


def write_page(measured: BenchMeasured, targets: Sequence[BenchTarget], path: Path) -> None:
    """Write the page to ``path``, whole or not at all."""
    promises = [[t.name, shown(t), aim(t), word(t)] for t in targets]
    rows = [[r.server, r.work, r.clients, r.per_second, r.p50_ms, r.p95_ms, r.p99_ms, r.answers] for r in measured.rows]
    pinned = "each server on cores of its own, the load on the others" if measured.pinned else "nothing pinned to cores"
    parts = [
        f"<title>Bench</title><style>{STYLE}</style><h1>The endpoint beside the server everyone writes first</h1>",
        "<p>Ours: INT8 in ONNX Runtime behind KServe, batched. Peer: FastAPI, PyTorch in fp32, one request a call. "
        f"Same weights, threads, index and work; {pinned}. {html.escape(platform.platform())}.</p>",
        _table(["", "measured", "promised", ""], promises),
        _svg(_draw(measured)),
        _table(["server", "work", "clients", "answers/s", "p50 ms", "p95 ms", "p99 ms", "answers"], rows),
    ]
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    with atomic_file(path) as scratch:
        scratch.write_text(head + "\n".join(parts) + "</html>\n")


def shown(target: BenchTarget) -> str:
    """The measured value with its unit."""
    value = f"{target.value:.0f}" if not target.unit or target.value >= 100 else f"{target.value:.2f}"
    return f"{value} {target.unit}".strip()


def aim(target: BenchTarget) -> str:
    """The promise in words."""
    if target.target is None:
        return ""
    return f"at {'most' if target.at_most else 'least'} {target.target:g} {target.unit}".strip()


def word(target: BenchTarget) -> str:
    """Met, missed and by how much, or nothing."""
    if target.met is None:
        return ""
    if target.met:
        return "met"
    return f"missed by {abs(target.value - (target.target or 0)):.3g} {target.unit}".strip()


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _cell(value: object) -> str:
    text = html.escape(str(value))
    name = "met" if text == "met" else "missed" if text.startswith("missed") else ""
    return f'<td class="{name}">{text}</td>' if name else f"<td>{text}</td>"


def _draw(measured: BenchMeasured) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    axes = figure.subplots(2, len(ROUTES))
    for column, work in enumerate(ROUTES):
        for row, (field, label) in enumerate((("per_second", "answers a second"), ("p99_ms", "p99, ms"))):
            axis = axes[row][column]
            for at, (name, colour) in enumerate(((PEER, "#b9c0cc"), (OURS, "#2f6fde"))):
                values = [getattr(measured.row(name, work, clients), field) for clients in CLIENTS]
                bars = axis.bar([n + 0.38 * at for n in range(len(CLIENTS))], values, 0.36, label=name, color=colour)
                axis.bar_label(bars, fmt="%.0f", fontsize=8)
            axis.set_xticks([n + 0.19 for n in range(len(CLIENTS))], [f"{clients} clients" for clients in CLIENTS])
            axis.set_ylabel(label)
            axis.spines[["top", "right"]].set_visible(False)
        ratios = ", ".join(f"{ratio(measured, work, clients):.1f}x" for clients in CLIENTS)
        axes[0][column].set_title(f"{work}: {ratios}")
    axes[0][0].legend(frameon=False)
    return figure


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg")
    return re.sub(r"^.*?(?=<svg)|<metadata>.*?</metadata>", "", stream.getvalue(), flags=re.DOTALL)
