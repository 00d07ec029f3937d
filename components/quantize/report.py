"""The page that compares the variants."""

from pathlib import Path

from components.quantize.variants import Figures
from components.report.page import Page, new_figure
from serving.verdict import Verdict

PANELS = (
    ("bytes", "Size, MB", 1e-6),
    ("p50_ms_batch1", "One question, p50 ms", 1.0),
    ("texts_per_s", "Passages per second", 1.0),
)


def write_page(verdict: Verdict, figures: Figures, protocol: str, path: Path | str) -> None:
    """Write size, latency, throughput and quality of each variant as one HTML file."""
    page = Page(
        "Quantisation",
        "The same encoder as ONNX in float32 and INT8: measured, and the fastest that keeps quality is served.",
    )
    page.verdicts([verdict])
    figure = new_figure(9.5, 3.0)
    quality = f"recall@10_{protocol}"
    axes = figure.subplots(1, 4)
    for axis, (key, title, scale) in zip(axes, (*PANELS, (quality, "recall@10", 1.0)), strict=True):
        bars = axis.bar(
            list(figures), [row[key] * scale for row in figures.values()], color=["C0", "C1", "C2"][: len(figures)]
        )
        axis.bar_label(bars, fmt="%.3g")
        axis.set_title(title)
    page.figure(figure, f"Variants side by side on one thread; quality is {quality}.")
    page.table([{"variant": name, **row} for name, row in figures.items()], "Every figure of every variant")
    page.text(
        "Latency includes tokenising; variants take turns on the same questions. "
        "Differences are of normalised embeddings against PyTorch in float32."
    )
    page.write(path)
