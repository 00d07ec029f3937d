"""Which variant is served: decided from figures alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from components.common.step import Settings
from serving.contract.verdict import Verdict

Figures = Mapping[str, Mapping[str, float]]
REFERENCE = "fp32"
CLOSE = 1.1
MAX_DIFFERENCE = 1e-3
"""Largest absolute difference that the exported graph may have from torch."""


class QuantizeSettings(Settings):
    """Section ``quantize``; each task adds how its quality is measured (components/tasks/<task>).

    ``min_smaller``: share of bytes INT8 must save; ``min_retained``: share of fp32's quality a variant must keep;
    ``repeats``: samples of latency; ``threads`` of one session, as in serving.
    """

    min_smaller: float = Field(0.74, ge=0, lt=1)
    min_retained: float = Field(0.99, ge=0, le=1)
    repeats: int = Field(60, ge=3)
    threads: int = Field(1, ge=1)
    seed: int = 17


@dataclass(frozen=True)
class Measured:
    """What a task says of its variants.

    ``spec``: the part of bundle.json that describes the model (one of encoder, speech, spec); ``files``: each
    variant's file or directory, relative; ``figures``: per variant at least bytes, p50_ms_batch1, max_abs_difference
    and ``quality``, the figure that must be retained (greater is better), which people call ``quality_name``; ``unit``:
    what one latency is of; ``panels``: (figure, title, scale) to draw.
    """

    spec: dict[str, Any]
    files: dict[str, str]
    figures: dict[str, dict[str, float]]
    quality: str
    quality_name: str
    unit: str
    panels: list[tuple[str, str, float]]

    def compared(self) -> dict[str, dict[str, float]]:
        """The figures with smaller (share of fp32's bytes saved) and retained (share of fp32's quality)."""
        whole = self.figures[REFERENCE]
        return {
            name: {
                **row,
                "smaller": 1 - row["bytes"] / whole["bytes"],
                "retained": row[self.quality] / max(whole[self.quality], 1e-9),
            }
            for name, row in self.figures.items()
        }


def _keeps(row: Mapping[str, float], settings: QuantizeSettings) -> bool:
    return row["retained"] >= settings.min_retained and row["smaller"] >= settings.min_smaller


def choose(figures: Figures, settings: QuantizeSettings) -> str:
    """The fastest variant (median latency at batch 1) that keeps quality; fp32 when no other does.

    Of those within a tenth of the fastest, which a busy moment could swap, the smallest.
    """
    good = [name for name, row in figures.items() if name == REFERENCE or _keeps(row, settings)]
    limit = CLOSE * min(figures[name]["p50_ms_batch1"] for name in good)
    return min((n for n in good if figures[n]["p50_ms_batch1"] <= limit), key=lambda name: figures[name]["bytes"])


def judge(figures: Figures, settings: QuantizeSettings, quality: str = "quality", unit: str = "one example") -> Verdict:
    """Verdict of gate "quantisation".

    Passes when the fp32 graph repeats torch (``max_abs_difference``) and some INT8 variant is at least
    ``min_smaller`` smaller and keeps ``min_retained`` of the quality. ``figures``: as `Measured.compared` gives them.
    """
    chosen = choose(figures, settings)
    flat = {f"{name}_{key}": value for name, row in figures.items() for key, value in row.items()}
    difference = figures[REFERENCE]["max_abs_difference"]
    if not difference <= MAX_DIFFERENCE:
        reason = f"the exported graph differs from torch by {difference:.1e}, {MAX_DIFFERENCE:.0e} is allowed"
        return Verdict("quantisation", False, reason, {"chosen": REFERENCE, **flat})
    others = {name: row for name, row in figures.items() if name != REFERENCE}
    kept = {name: row for name, row in others.items() if _keeps(row, settings)}
    if not kept:
        worst = "; ".join(f"{n} keeps {r['retained']:.1%}, is {r['smaller']:.1%} smaller" for n, r in others.items())
        wanted = f"{settings.min_retained:.0%} of {quality} and {settings.min_smaller:.0%} smaller are asked"
        return Verdict("quantisation", False, f"no INT8 variant holds: {worst}; {wanted}", {"chosen": chosen, **flat})
    name, row = min(kept.items(), key=lambda item: item[1]["p50_ms_batch1"])
    faster = figures[REFERENCE]["p50_ms_batch1"] / row["p50_ms_batch1"]
    reason = (
        f"{name} is {row['smaller']:.1%} smaller, {faster:.1f}x as fast on {unit} and keeps "
        f"{row['retained']:.1%} of {quality}; {chosen} is served"
    )
    return Verdict("quantisation", True, reason, {"chosen": chosen, **flat})
