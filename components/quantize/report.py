"""The page that compares the variants."""

from pathlib import Path

from components.common.page import COLOURS, Page, new_figure
from components.quantize.variants import Figures, Measured
from serving.contract.verdict import Verdict


def write_page(verdict: Verdict, measured: Measured, figures: Figures, path: Path | str) -> None:
    """Write size, latency, throughput and quality of each variant as one HTML file."""
    page = Page(
        "Quantisation",
        "The same model as ONNX in float32 and INT8: measured, and the fastest that keeps quality is served.",
    )
    page.verdicts([verdict])
    panels = [*measured.panels, (measured.quality, measured.quality_name, 1.0)]
    figure = new_figure(9.5, 3.0)
    for axis, (key, title, scale) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        heights = [row[key] * scale for row in figures.values()]
        axis.bar_label(axis.bar(list(figures), heights, color=COLOURS[: len(figures)]), fmt="%.3g")
        axis.set_title(title)
    page.figure(figure, f"Variants side by side, time on one machine in turns; quality is {measured.quality}.")
    page.table([{"variant": name, **row} for name, row in figures.items()], "Every figure of every variant")
    page.text(
        "Latency is from the request's own form to the answer; variants take turns on the same inputs. "
        "Differences are of the graph's outputs against PyTorch in float32."
    )
    page.write(path)
