"""A load test as one self-contained page, and as a table for a terminal."""

import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from load_tests.slo import answered, figures
from serving.contract.files import atomic_file
from serving.contract.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;color:#1b2733}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}td,th{padding:.3rem .6rem;text-align:right;
border-bottom:1px solid #dde3ea}td:first-child,th:first-child{text-align:left}
figure{margin:1.5rem 0}svg{width:100%;height:auto}
.scroll{overflow-x:auto}.good{color:#2c7a54}.bad{color:#b23b3b}"""


def by_persona(samples: "pd.DataFrame") -> list[dict[str, object]]:
    """One row a persona, and one for all: requests, rate (1/s), p50, p95, p99 (ms), share of errors, share correct."""
    groups = [*((str(name) or "users", rows) for name, rows in samples.groupby("persona")), ("all", samples)]
    return [{"users": name, **figures(rows)} for name, rows in groups]


def draw(samples: "pd.DataFrame") -> "Figure":
    """Two pictures: how latency is spread, and answers and errors per second over the window."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    good = answered(samples)
    for name, rows in samples[good].groupby("persona"):
        left.ecdf(rows["latency_ms"], label=name or "users")
    left.set(xlabel="latency, ms", ylabel="share of answers", xlim=(0, None))
    second = (samples["at"] - samples["at"].min()).astype(int)
    for rows, name, colour in ((second[good], "answers", "#3f88b8"), (second[~good], "errors", "#c0605a")):
        counts = rows.value_counts().sort_index()
        if len(counts):
            right.plot(counts.index, counts.values, marker="o", label=name, color=colour)
    right.set(xlabel="second", ylabel="requests/s", ylim=(0, None))
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def write_report(samples: "pd.DataFrame", verdict: Verdict, host: str, directory: Path) -> Path:
    """Write ``load.html`` (self-contained) and ``samples.csv`` into ``directory``; returns the page's path."""
    rows = by_persona(samples)
    head = "".join(f"<th scope=col>{escape(name.replace('_', ' '))}</th>" for name in rows[-1])
    body = "".join("<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in rows[-1]) + "</tr>" for row in rows)
    picture = ""
    if len(samples):
        stream = io.StringIO()
        draw(samples).savefig(stream, format="svg")
        picture = f"<figure>{stream.getvalue()[stream.getvalue().index('<svg') :]}</figure>"
    word = "kept" if verdict.passed else "missed"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>Load test of {escape(host)}</title><style>{STYLE}</style><h1>Load test of {escape(host)}</h1>"
        f'<p class="{"good" if verdict.passed else "bad"}"><strong>SLO {word}.</strong> {escape(verdict.reason)}</p>'
        f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>{picture}</html>'
    )
    with atomic_file(directory / "samples.csv") as scratch:
        samples.to_csv(scratch, index=False)
    with atomic_file(directory / "load.html") as scratch:
        scratch.write_text(page, encoding="utf-8")
    return directory / "load.html"


def _cell(value: object) -> str:
    return escape(f"{value:g}" if isinstance(value, float) else "–" if value is None else str(value))
